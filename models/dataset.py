"""`Dataset`: what a corpus or a task gives, and what a subject is trained on and recorded over."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from models.artifacts import ArtifactError, Manifest, publishing
from models.checked_input import checked_mask, whole_number
from models.tensor_files import save_tensors

SPLITS = ("train", "test")


# Tensors of a dataset that only some datasets have, each with one row a sequence.
_OPTIONAL = ("targets", "source", "source_mask")
_LABELS = ("labels", "source_labels")


@dataclass
class Dataset:
    """Sequences with the truth about each position: of tokens, or of vectors (`bos` is then None).

    Every token sequence starts with BOS and never crosses a document; padding stands only at the end of a row.

    Attributes:
        tokens: token ids, 0 where there is padding; or the vectors that a continuous subject is given.
        mask: True where a position is real (BOS included).
        docs: for each sequence, the row of `doc_table` it comes from.
        labels: one row per real position in reading order (all null for BOS); Boolean, categorical, integer or, for
            what is continuous, floating-point columns.
        doc_table: one row per document: `name`, `split` (`train` or `test`), and whatever else is known of it.
        tokenizer: what turned text into these ids, where there was text.
        targets: what each position should give, where that is not simply the next token: ids, −100 where nothing is
            asked; or vectors.
        source: the sequences that an encoder reads; `tokens` are then what the decoder should say.
        source_mask: True where a source position is real.
        source_labels: as `labels`, for the positions of `source`.
        bos: the id of BOS; None where sequences are not of tokens.
        id: the artifact's id once it is saved or loaded.
        whole: False where it was loaded without its labels, and so must not be saved as if it had none.
    """

    tokens: Int[Tensor, "seq time"] | Float[Tensor, "seq time d_in"]
    mask: Bool[Tensor, "seq time"] = None  # type: ignore[assignment]  # all real where left out
    docs: Int[Tensor, " seq"] = None  # type: ignore[assignment]  # each sequence its own where left out
    labels: pa.Table | None = None
    doc_table: pa.Table = None  # named by number, all for training, where left out
    tokenizer: Tokenizer | None = None
    targets: Int[Tensor, "seq time"] | Float[Tensor, "seq time d_out"] | None = None
    source: Int[Tensor, "seq source_time"] | None = None
    source_mask: Bool[Tensor, "seq source_time"] | None = None  # all real where left out
    source_labels: pa.Table | None = None
    bos: int | None = 0
    id: str | None = field(default=None, compare=False)
    whole: bool = True

    def __post_init__(self) -> None:
        n_seq = self.tokens.shape[0]
        if self.tokens.is_floating_point():
            self.bos = None
            if not torch.isfinite(self.tokens).all():
                raise ValueError("the sequences hold NaN or infinite values: leave them out, or fill them in.")
        if self.mask is None:
            self.mask = torch.ones(self.tokens.shape[:2], dtype=torch.bool)
        if self.docs is None:
            self.docs = torch.arange(n_seq)
        if self.source is not None and self.source_mask is None:
            self.source_mask = torch.ones_like(self.source, dtype=torch.bool)
        if self.doc_table is None:
            names = [str(i) for i in range(int(self.docs.max()) + 1 if n_seq else 0)]
            self.doc_table = pa.table({"name": names, "split": ["train"] * len(names)})
        if self.mask.shape != self.tokens.shape[:2] or self.docs.shape != (n_seq,):
            raise ValueError(
                f"mask {tuple(self.mask.shape)} and docs {tuple(self.docs.shape)} do not fit "
                f"tokens {tuple(self.tokens.shape)}: they want one entry per position and one per sequence."
            )
        if n_seq:
            checked_mask(self.mask, self.mask.shape)
        if self.source is not None and n_seq:
            checked_mask(self.source_mask, self.source.shape, "source_mask")
        if self.targets is not None and self.targets.shape[:2] != self.mask.shape:
            raise ValueError(
                f"targets are {tuple(self.targets.shape)}, but the sequences {tuple(self.mask.shape)}: "
                "each position wants its own."
            )
        for name in _OPTIONAL:
            value = getattr(self, name)
            if value is not None and len(value) != n_seq:
                raise ValueError(f"{name} has {len(value)} rows, but there are {n_seq} sequences.")
        _check_labels("labels", self.labels, self.mask)
        _check_labels("source_labels", self.source_labels, self.source_mask)

    def __repr__(self) -> str:
        shape = zip(self.tokens.shape, ("sequences", "positions", "numbers"), strict=False)
        parts = [" × ".join(f"{n} {name}" for n, name in shape), f"{len(self.docs.unique())} documents"]
        for name in (*_OPTIONAL, *_LABELS):
            if (value := getattr(self, name)) is not None:
                found = f"{value.num_columns} columns" if name in _LABELS else " × ".join(map(str, value.shape))
                parts.append(f"{name}: {found}")
        return f"Dataset({'; '.join(parts)})"

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def counted(self) -> Bool[Tensor, "seq time"]:
        """The positions that are recorded and measured: BOS and padding are not."""
        counted = self.mask.clone()
        if self.bos is not None:
            counted[:, 0] = False
        return counted

    @property
    def n_tokens(self) -> int:
        """How many positions count."""
        return int(self.mask.sum()) - (len(self) if self.bos is not None else 0)

    @property
    def d_vocab(self) -> int:
        """How many token ids a subject must know. `ValueError` where the sequences are of vectors."""
        if self.tokenizer is not None:
            return self.tokenizer.get_vocab_size()
        if self.tokens.is_floating_point():
            raise ValueError(f"these sequences are of {self.tokens.shape[-1]} numbers a step, not of tokens.")
        if not self.tokens.numel():
            raise ValueError("there are no sequences, and so no token ids to know.")
        return int(self.tokens.max()) + 1

    def fingerprint(self) -> str:
        """What an artifact names as its data where they were never saved: a digest of what a subject reads."""
        digest = hashlib.sha256()
        for name, value in self.batch(slice(None)).items():
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().data)
        return f"unsaved-{digest.hexdigest()}"

    def batch(self, sequences: Int[Tensor, " chosen"] | slice) -> dict[str, Tensor]:
        """What a subject is called with: `input`, `mask`, and what there is of `targets`, `source`, `source_mask`."""
        parts = {"input": self.tokens, "mask": self.mask} | {name: getattr(self, name) for name in _OPTIONAL}
        return {name: value[sequences] for name, value in parts.items() if value is not None}

    def of_source(self) -> "Dataset":
        """What the encoder reads, as a dataset of its own with the same documents. `ValueError` if there is none."""
        if self.source is None:
            raise ValueError("these sequences have no source: there is nothing that an encoder reads.")
        return Dataset(
            tokens=self.source,
            mask=self.source_mask,  # type: ignore[arg-type]
            docs=self.docs,
            labels=self.source_labels,
            doc_table=self.doc_table,
            bos=None,
        )

    def of_last(self) -> "Dataset":
        """The last position of each sequence, which stands for the whole, as a dataset of its own.

        Raises:
            ValueError: some sequence ends in padding.
        """
        if not self.mask[:, -1].all():
            raise ValueError("some sequences end in padding: they have no last position in common.")
        is_last = torch.zeros_like(self.mask)
        is_last[:, -1] = True
        labels = None if self.labels is None else self.labels.filter(pa.array(is_last[self.mask].numpy()))
        return Dataset(tokens=self.tokens[:, -1:], docs=self.docs, labels=labels, doc_table=self.doc_table, bos=None)

    def on_axis(self, axis: str) -> "Dataset":
        """What a subject's hooks have rows for: positions of the `target`, of its `source`, or one a `sequence`."""
        return {"target": lambda: self, "source": self.of_source, "sequence": self.of_last}[axis]()

    def select(self, sequences: Int[Tensor, " chosen"] | np.ndarray) -> "Dataset":
        """The dataset of some of the sequences, in reading order."""
        chosen = torch.as_tensor(sequences).sort().values
        if torch.equal(chosen, torch.arange(len(self))):
            return self  # a dataset that lies on disk need not be copied into memory
        optional = {name: getattr(self, name) for name in _OPTIONAL}
        return replace(
            self,
            tokens=self.tokens[chosen],
            mask=self.mask[chosen],
            docs=self.docs[chosen],
            labels=_rows_of(chosen, self.labels, self.mask),
            source_labels=_rows_of(chosen, self.source_labels, self.source_mask),
            **{name: value[chosen] for name, value in optional.items() if value is not None},
        )

    def sequences(self, split: str | None = None) -> Int[Tensor, " chosen"]:
        """The indices of a split's sequences; of all of them where no split is named."""
        if split is None:
            return torch.arange(len(self))
        if split not in SPLITS:
            raise ValueError(f"no split is called {split!r}: there are {' and '.join(SPLITS)}.")
        of_doc = np.asarray(self.doc_table["split"].to_pylist()) == split
        return torch.from_numpy(np.flatnonzero(of_doc[self.docs.numpy()]))

    def split(self, name: str) -> "Dataset":
        """The documents of one split, `train` or `test`."""
        return self.select(self.sequences(name))

    def sample(self, n_tokens: int, *, test_share: float = 0.25, seed: int = 0) -> "Dataset":
        """Sequences drawn at random until there are about `n_tokens`, `test_share` of them from `test` documents.

        A split that has too few gives all it has.
        """
        whole_number(n_tokens, "n_tokens", least=1)
        rng = np.random.default_rng(whole_number(seed, "seed"))
        chosen = []
        for split, share in (("train", 1 - test_share), ("test", test_share)):
            order = rng.permutation(self.sequences(split).numpy())
            lengths = self.counted[torch.from_numpy(order)].sum(1).numpy()
            chosen.append(order[: np.searchsorted(np.cumsum(lengths), share * n_tokens) + 1])
        return self.select(np.concatenate(chosen))

    def save(self, run: str | Path, config: dict | None = None) -> str:
        """Publish as the run's `data/` and return the artifact's id. `ValueError` if its labels were left unread."""
        if not self.whole:
            raise ValueError("this dataset was loaded without its labels: load it with them to save it.")
        path = Path(run) / "data"
        facts = {
            "n_seq": len(self),
            "n_ctx": self.tokens.shape[1],
            "bos": self.bos,
            "n_tokens": self.n_tokens,
        }
        with publishing(path, "dataset", config=(config or {}) | facts) as draft:
            arrays = {name: getattr(self, name) for name in ("tokens", "mask", "docs", *_OPTIONAL)}
            present = {name: value for name, value in arrays.items() if value is not None}
            save_tensors(present, draft.path / "tokens.safetensors")
            pq.write_table(self.doc_table, draft.path / "docs.parquet")
            for name in _LABELS:
                if (table := getattr(self, name)) is not None:
                    pq.write_table(table, draft.path / f"{name}.parquet", compression="zstd")
            if self.tokenizer is not None:
                self.tokenizer.save(str(draft.path / "tokenizer.json"))
        self.id = Manifest.read(path).id
        return self.id

    @classmethod
    def load(cls, run: str | Path, *, with_labels: bool = True) -> "Dataset":
        """The run's `data/`; without its labels, which are the larger part, where they are not wanted."""
        path = Path(run) / "data"
        manifest = Manifest.read(path)
        if manifest.kind != "dataset":
            raise ArtifactError(f"{path} holds {manifest.kind}, not a dataset.")
        try:
            return cls._read(path, manifest, with_labels)
        except Exception as error:  # each library has its own; none says which artifact it was
            raise ArtifactError(f"{path} is damaged: {str(error).splitlines()[0]}") from error

    @classmethod
    def _read(cls, path: Path, manifest: Manifest, with_labels: bool) -> "Dataset":
        arrays = load_file(path / "tokens.safetensors")
        tokenizer = path / "tokenizer.json"
        tables = [name for name in _LABELS if with_labels and (path / f"{name}.parquet").exists()]
        return cls(
            **arrays,
            **{name: pq.read_table(path / f"{name}.parquet") for name in tables},
            doc_table=pq.read_table(path / "docs.parquet"),
            tokenizer=Tokenizer.from_file(str(tokenizer)) if tokenizer.exists() else None,
            bos=manifest.config["bos"],
            id=manifest.id,
            whole=with_labels,
        )


def _check_labels(name: str, labels: pa.Table | None, mask: Tensor | None) -> None:
    if labels is None:
        return
    n_real = 0 if mask is None else int(mask.sum())
    if labels.num_rows != n_real:
        raise ValueError(f"{name} have {labels.num_rows} rows, but there are {n_real} real positions.")


def _rows_of(chosen: Tensor, labels: pa.Table | None, mask: Tensor | None) -> pa.Table | None:
    """The rows of a label table that belong to some of the sequences."""
    if labels is None or mask is None:
        return None
    is_chosen = torch.zeros(len(mask), dtype=torch.bool)
    is_chosen[chosen] = True
    return labels.filter(pa.array(is_chosen[:, None].expand_as(mask)[mask].numpy()))
