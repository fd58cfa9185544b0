"""`Task`: a problem whose answer is known, and the examples drawn from it."""

from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from models.loss import next_tokens

BOS = 0
NOTHING = -100  # a target where nothing is asked
# What a stream of random numbers is for: those of training, test and single batches never meet.
_TRAIN, _TEST, _BATCH = range(3)


@dataclass
class Drawn:
    """Examples as arrays; see `Dataset` for what each is.

    Attributes:
        truth: for each label, its value at every position, masked where there is none; what stands at BOS and
            padding is left out of a dataset's labels.
        source_truth: the same for the positions of `source`.
    """

    tokens: Int[np.ndarray, "seq time"] | Float[np.ndarray, "seq time d_in"]
    mask: Bool[np.ndarray, "seq time"] | None = None
    targets: Int[np.ndarray, "seq time"] | Float[np.ndarray, "seq time d_out"] | None = None
    source: Int[np.ndarray, "seq source_time"] | None = None
    source_mask: Bool[np.ndarray, "seq source_time"] | None = None
    truth: dict[str, np.ndarray] = field(default_factory=dict)
    source_truth: dict[str, np.ndarray] = field(default_factory=dict)

    def arrays(self) -> dict[str, Tensor]:
        """What is not truth, as tensors."""
        names = ("tokens", "mask", "targets", "source", "source_mask")
        present = {name: getattr(self, name) for name in names}
        return {name: torch.from_numpy(value) for name, value in present.items() if value is not None}

    def dataset(self, split: str = "train") -> Dataset:
        """The examples as a dataset, each a document of its own."""
        arrays: dict[str, Any] = {**self.arrays()}
        n = len(self.tokens)
        made = Dataset(**arrays, doc_table=pa.table({"name": [f"{split} {i}" for i in range(n)], "split": [split] * n}))
        if self.truth:
            made.labels = label_table(self.truth, made.mask.numpy(), made.counted.numpy())
        if self.source_truth and made.source_mask is not None:
            real = made.source_mask.numpy()
            made.source_labels = label_table(self.source_truth, real, real)
        return made


class Task(ABC):
    """A problem whose answer is known. Subclasses are frozen dataclasses whose fields are its difficulty.

    The same seed draws the same examples on every machine. A subclass gives `name`, `shape` and `draw`; and, where a
    label is an angle, its period in `circular`.
    """

    name: ClassVar[str]
    circular: ClassVar[dict[str, float]] = {}

    @property
    @abstractmethod
    def shape(self) -> dict[str, int]:
        """What a subject's config must have.

        `d_vocab` and `n_ctx`, of the longer side where there is a source, whose ids are below `d_vocab_source`; or
        `d_in` and `d_out`; or `d_vocab` and `d_out`, where tokens are sorted into classes.
        """

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        """`n` examples with the truth about each position."""

    def batch(self, n: int, seed: int, step: int = 0, without: Set[bytes] = frozenset()) -> dict[str, Tensor]:
        """`n` fresh examples as a subject is called with them; every step has its own.

        Args:
            n: how many are drawn.
            seed: of the draws.
            step: which of them.
            without: `example_keys` of what is held out; these are left away, so that there may be fewer than `n`.

        Raises:
            ValueError: fewer than one example is asked for, or all that were drawn are held out.
        """
        if n < 1:
            raise ValueError(f"a batch of {n} examples was asked for: it must be at least 1.")
        arrays = self.draw(n, np.random.default_rng([seed, _BATCH, step])).arrays()
        batch = {"input" if name == "tokens" else name: value for name, value in arrays.items()}
        if not without:
            return batch
        new = [i for i, key in enumerate(example_keys(batch["input"], batch.get("source"))) if key not in without]
        if not new:
            raise ValueError(
                f"all {n} examples drawn for a batch are held out: the task is too small for fresh batches."
            )
        return {name: value[new] for name, value in batch.items()}

    def dataset(self, n_train: int, n_test: int = 0, seed: int = 0) -> Dataset:
        """Examples for training and, if any are asked for, others for testing, which are none of the first.

        Raises:
            ValueError: fewer than one example is asked for, or the task is so small that none is left for testing.
        """
        if n_train < 1 or n_test < 0:
            raise ValueError(f"{n_train} examples for training and {n_test} for testing: at least 1 and 0 are needed.")
        train = self.draw(n_train, np.random.default_rng([seed, _TRAIN])).dataset("train")
        if n_test == 0:
            return train
        test = self.draw(n_test, np.random.default_rng([seed, _TEST])).dataset("test")
        known = set(example_keys(train.tokens, train.source))
        new = np.arange(n_test)
        if known:
            new = np.flatnonzero([key not in known for key in example_keys(test.tokens, test.source)])
        if not len(new):
            raise ValueError(f"all {n_test} test examples are among the {n_train} for training: ask for fewer.")
        return join(train, test.select(new))

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """Where the output is right, and where anything was asked: by default, the likeliest id is the target."""
        targets, mask = batch.get("targets"), batch.get("mask")
        if targets is None:
            targets = next_tokens(batch["input"], mask)
        asked = targets != NOTHING if mask is None else mask & (targets != NOTHING)
        return output.argmax(-1) == targets, asked

    def right(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[int, int]:
        """How much of what was asked the subject's output gets right, and how much was asked."""
        hit, asked = self._hits_on_cpu(output, batch)
        return int(hit[asked].sum()), int(asked.sum())

    def accuracy(self, output: Tensor, batch: dict[str, Tensor]) -> float:
        """The share of what was asked that the subject's output gets right."""
        n_right, n_asked = self.right(output, batch)
        return n_right / n_asked

    def exact_match(self, output: Tensor, batch: dict[str, Tensor]) -> float:
        """The share of examples in which nothing that was asked is wrong.

        With the true tokens fed back, this is also the share that greedy decoding gets right: up to its first error
        it is fed the same.
        """
        hit, asked = self._hits_on_cpu(output, batch)
        return float((hit | ~asked).all(1).float().mean())

    def _hits_on_cpu(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.hits(output.detach().cpu(), {name: value.cpu() for name, value in batch.items()})

    def to_dict(self) -> dict[str, Any]:
        """The task as plain JSON: its name and its difficulty."""
        return {"name": self.name} | asdict(self)  # type: ignore[call-overload]


def check_at_least(task: Task, **least: float) -> None:
    """`ValueError` if a field of the task is less than it may be."""
    for name, low in least.items():
        if not getattr(task, name) >= low:
            raise ValueError(f"{name} is {getattr(task, name)}: it must be at least {low}.")


def check_share(task: Task, *names: str) -> None:
    """`ValueError` if a field of the task is not between 0 and 1."""
    for name in names:
        if not 0 <= getattr(task, name) <= 1:
            raise ValueError(f"{name} is {getattr(task, name)}: it must be between 0 and 1.")


def check_among(task: Task, name: str, known: tuple[str, ...]) -> None:
    """`ValueError` if a field of the task is none of the words it may be."""
    if getattr(task, name) not in known:
        raise ValueError(f"{name} {getattr(task, name)!r} is unknown: there are {' and '.join(known)}.")


def check_lengths(task: Task, low: str, high: str, least: int = 1) -> None:
    """`ValueError` if two fields of the task are not the ends of a range that starts at `least` or above."""
    first, last = getattr(task, low), getattr(task, high)
    if not least <= first <= last:
        raise ValueError(f"{low} is {first} and {high} {last}: they must be at least {least}, and in this order.")


def join(train: Dataset, test: Dataset) -> Dataset:
    """One dataset of two whose sequences are equally long."""
    both = (train, test)
    tensors = ("tokens", "mask", "targets", "source", "source_mask")
    tables = ("labels", "source_labels", "doc_table")
    parts: dict[str, Any] = {name: torch.cat([getattr(d, name) for d in both]) for name in tensors if _has(both, name)}
    parts |= {name: pa.concat_tables([getattr(d, name) for d in both]) for name in tables if _has(both, name)}
    parts["doc_table"] = parts["doc_table"].combine_chunks()
    parts["docs"] = torch.cat([train.docs, test.docs + train.doc_table.num_rows])
    return Dataset(**parts)


def _has(parts: tuple[Dataset, Dataset], name: str) -> bool:
    return all(getattr(part, name) is not None for part in parts)


def example_keys(tokens: Tensor, source: Tensor | None = None) -> list[bytes]:
    """What makes an example another example: all that the subject is shown.

    None for vectors: two of them alike are no copies of one another, but both all zero, say.
    """
    shown = tokens if source is None else source
    return [] if shown.is_floating_point() else [row.tobytes() for row in shown.cpu().numpy()]


def label_table(truth: dict[str, np.ndarray], real: np.ndarray, counted: np.ndarray) -> pa.Table:
    """Labels of the real positions, null where one does not count."""
    skipped = ~counted[real]
    return pa.table({name: _column(value[real], skipped) for name, value in truth.items()})


def _column(values: np.ndarray, skipped: np.ndarray) -> pa.Array:
    column = pa.array(np.ma.getdata(values), mask=skipped | np.ma.getmaskarray(values))
    return column.dictionary_encode() if pa.types.is_string(column.type) else column
