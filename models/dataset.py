"""`Dataset`: what a corpus or a task gives, and what a subject is trained on and recorded over."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Int
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from models.artifacts import ArtifactError, Manifest, publishing

SPLITS = ("train", "test")


@dataclass
class Dataset:
    """Token sequences with the truth about each position.

    Every sequence starts with BOS and never crosses a document; padding stands only at the end of a row.

    Attributes:
        tokens: token ids; 0 where there is padding.
        mask: True where a token is real (BOS included).
        docs: for each sequence, the row of `doc_table` it comes from.
        labels: one row per real position in reading order (all null for BOS); Boolean, categorical or integer columns.
        doc_table: one row per document: `name`, `split` (`train` or `test`), and whatever else is known of it.
        tokenizer: what turned text into these ids, where there was text.
        bos: the id of BOS.
        id: the artifact's id once it is saved or loaded.
        whole: False where it was loaded without its labels, and so must not be saved as if it had none.
    """

    tokens: Int[Tensor, "seq time"]
    mask: Bool[Tensor, "seq time"] = None  # type: ignore[assignment]  # all real where left out
    docs: Int[Tensor, " seq"] = None  # type: ignore[assignment]  # each sequence its own where left out
    labels: pa.Table | None = None
    doc_table: pa.Table = None  # named by number, all for training, where left out
    tokenizer: Tokenizer | None = None
    bos: int = 0
    id: str | None = field(default=None, compare=False)
    whole: bool = True

    def __post_init__(self) -> None:
        n_seq = self.tokens.shape[0]
        if self.mask is None:
            self.mask = torch.ones_like(self.tokens, dtype=torch.bool)
        if self.docs is None:
            self.docs = torch.arange(n_seq)
        if self.doc_table is None:
            names = [str(i) for i in range(int(self.docs.max()) + 1 if n_seq else 0)]
            self.doc_table = pa.table({"name": names, "split": ["train"] * len(names)})
        if self.mask.shape != self.tokens.shape or self.docs.shape != (n_seq,):
            raise ValueError(
                f"mask {tuple(self.mask.shape)} and docs {tuple(self.docs.shape)} do not fit "
                f"tokens {tuple(self.tokens.shape)}: they want one entry per position and one per sequence."
            )
        if self.labels is not None and self.labels.num_rows != (n_real := int(self.mask.sum())):
            raise ValueError(f"labels have {self.labels.num_rows} rows, but there are {n_real} real positions.")

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def n_tokens(self) -> int:
        """Real positions that can be predicted: BOS and padding are not counted."""
        return int(self.mask.sum()) - len(self)

    @property
    def d_vocab(self) -> int:
        """How many token ids a subject must know."""
        if self.tokenizer is not None:
            return self.tokenizer.get_vocab_size()
        return int(self.tokens.max()) + 1

    def select(self, sequences: Int[Tensor, " chosen"] | np.ndarray) -> "Dataset":
        """The dataset of some of the sequences, in reading order."""
        chosen = torch.as_tensor(sequences).sort().values
        labels = None
        if self.labels is not None:
            is_chosen = torch.zeros(len(self), dtype=torch.bool)
            is_chosen[chosen] = True
            of_row = is_chosen[:, None].expand_as(self.mask)[self.mask]
            labels = self.labels.filter(pa.array(of_row.numpy()))
        return replace(self, tokens=self.tokens[chosen], mask=self.mask[chosen], docs=self.docs[chosen], labels=labels)

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
        if n_tokens < 1:
            raise ValueError(f"n_tokens is {n_tokens}: it must be at least 1.")
        rng = np.random.default_rng(seed)
        chosen = []
        for split, share in (("train", 1 - test_share), ("test", test_share)):
            order = rng.permutation(self.sequences(split).numpy())
            lengths = self.mask[torch.from_numpy(order)].sum(1).numpy() - 1
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
            arrays = {"tokens": self.tokens, "mask": self.mask, "docs": self.docs}
            save_file({k: v.contiguous() for k, v in arrays.items()}, draft.path / "tokens.safetensors")
            pq.write_table(self.doc_table, draft.path / "docs.parquet")
            if self.labels is not None:
                pq.write_table(self.labels, draft.path / "labels.parquet", compression="zstd")
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
        labels, tokenizer = path / "labels.parquet", path / "tokenizer.json"
        return cls(
            tokens=arrays["tokens"],
            mask=arrays["mask"],
            docs=arrays["docs"],
            labels=pq.read_table(labels) if with_labels and labels.exists() else None,
            doc_table=pq.read_table(path / "docs.parquet"),
            tokenizer=Tokenizer.from_file(str(tokenizer)) if tokenizer.exists() else None,
            bos=manifest.config["bos"],
            id=manifest.id,
            whole=with_labels,
        )
