"""`Prompts`: clean and corrupt sequences with what is asked of them: two texts, minimal pairs, or a task's examples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import as_evaluated
from models.loss import IGNORED, next_tokens
from models.tasks.minimal_pairs import MinimalPairs, python_minimal_pairs
from workbench.features.reading.text import check_reads_text
from workbench.features.vocabulary import ANY_STEP, token_strings
from workbench.interventions.metrics import LogitDifference, Metric, TargetError
from workbench.interventions.pairs import aligned, run


@dataclass(frozen=True)
class Prompts:
    """Pairs, and what is asked of them.

    Attributes:
        clean: sequences, each a document of its own.
        corrupt: their counterparts.
        metric: `LogitDifference` of two answers; `TargetError` where answers are vectors.
        answer: what the clean one is answered; None where answers are vectors.
        wrong: what the corrupt one is.
        position: where that is asked; None where it is asked at many.
        speaks: whether answers are tokens of the vocabulary that is read.
    """

    clean: Dataset
    corrupt: Dataset
    metric: Metric
    answer: Int[Tensor, " pair"] | None
    wrong: Int[Tensor, " pair"] | None
    position: Int[Tensor, " pair"] | None
    speaks: bool

    @classmethod
    def of(cls, pairs: MinimalPairs, tokenizer: Any = None) -> "Prompts":
        """Minimal pairs."""
        clean, corrupt = (Dataset(ids, pairs.mask, tokenizer=tokenizer) for ids in (pairs.clean, pairs.corrupt))
        metric = LogitDifference.of(pairs)
        return cls(clean, corrupt, metric, pairs.answer, pairs.wrong, pairs.position, speaks=True)

    def __len__(self) -> int:
        return len(self.clean)

    def some(self, rows: Int[Tensor, " chosen"]) -> "Prompts":
        """Some of the pairs, by number."""
        clean, corrupt = (data.select(rows) for data in (self.clean, self.corrupt))
        if self.answer is None or self.wrong is None or self.position is None:
            return Prompts(clean, corrupt, self.metric, None, None, None, self.speaks)
        answer, wrong, position = (each[rows] for each in (self.answer, self.wrong, self.position))
        metric = LogitDifference(answer, wrong, position)
        return Prompts(clean, corrupt, metric, answer, wrong, position, self.speaks)

    @property
    def targets(self) -> Int[Tensor, "pair pos"]:
        """The clean answers where they are asked, and nothing elsewhere. `ValueError` where they are vectors."""
        if self.answer is None or self.position is None:
            raise ValueError("the answers are vectors: there is no one token that is asked.")
        targets = torch.full(tuple(self.clean.mask.shape), IGNORED)
        targets[torch.arange(len(self)), self.position] = self.answer
        return targets


def typed_prompts(model: Any, clean: str, corrupt: str, answer: str | None = None, wrong: str | None = None) -> Prompts:
    """One pair of typed texts, BOS before each; answers that are not given are what the subject holds likeliest.

    Raises:
        ValueError: the subject reads no text, a text is empty, they have not the same number of tokens or are the same,
            an answer is not one token, or both answers are the same.
    """
    check_reads_text(model)
    rows = []
    for name, text in (("clean", clean), ("corrupt", corrupt)):
        if not text:
            raise ValueError(f"the {name} prompt is empty: give at least one character.")
        rows.append([model.bos, *model.tokenizer.encode(text, add_special_tokens=False).ids])
    longest = getattr(model.cfg, "n_ctx", None)
    if longest is not None and max(map(len, rows)) > longest:
        raise ValueError(f"a prompt has {max(map(len, rows))} tokens with BOS: at most {longest} fit into the context.")
    if len(rows[0]) != len(rows[1]):
        lengths = " and ".join(str(len(row) - 1) for row in rows)
        raise ValueError(f"the prompts have {lengths} tokens: patching wants as many in both, position by position.")
    if rows[0] == rows[1]:
        raise ValueError("the prompts are the same: there is nothing to patch.")
    pair = [Dataset(torch.tensor([row]), tokenizer=model.tokenizer) for row in rows]
    told = [
        _likeliest(model, data) if given is None else _one_token(model, given)
        for data, given in zip(pair, (answer, wrong), strict=True)
    ]
    if told[0] == told[1]:
        word = token_strings(model.tokenizer, [told[0]])[0]
        raise ValueError(f"both prompts are answered {word!r}: name another --answer or --wrong, or other prompts.")
    return _asked_at_last(pair[0], pair[1], torch.tensor(told[:1]), torch.tensor(told[1:]), speaks=True)


def minimal_pair_prompts(model: Any, kind: str, n: int, seed: int) -> Prompts:
    """Minimal pairs of Python source (`models.tasks.minimal_pairs`). `ValueError` where there are not enough."""
    check_reads_text(model)
    pairs = python_minimal_pairs(kind, n, seed, model.tokenizer)
    longest = getattr(model.cfg, "n_ctx", None)
    if longest is not None and pairs.clean.shape[1] > longest:
        raise ValueError(f"a pair has {pairs.clean.shape[1]} tokens: at most {longest} fit into the context.")
    return Prompts.of(pairs, model.tokenizer)


def example_prompts(data: Dataset, n: int, seed: int) -> Prompts:
    """Pairs of a task's held-out examples: each with another of the same length that is answered differently.

    What is measured is the last answer in which the two differ; of sequences that nothing else is asked of, answers are
    next tokens.

    Raises:
        ValueError: no two examples are of one length and answered differently.
    """
    whole_number(n, "the number of examples", least=1)
    rng = np.random.default_rng(whole_number(seed, "seed"))
    held_out = data.sequences("test")
    rows = data.select(held_out if len(held_out) else data.sequences())
    if rows.targets is not None and rows.targets.is_floating_point():
        first, second, _ = _partners(rows, None, n, rng)
        return Prompts(_alone(rows, first), _alone(rows, second), TargetError(), None, None, None, speaks=False)
    speaks = rows.targets is None
    if rows.targets is None and rows.tokens.is_floating_point():
        raise ValueError("these sequences are of vectors that nothing is asked of: there is no answer to restore.")
    asked = next_tokens(rows.tokens, rows.mask) if rows.targets is None else rows.targets
    targets = torch.where(rows.mask, asked, IGNORED)
    first, second, position = _partners(rows, targets, n, rng)
    answer, wrong = targets[first, position], targets[second, position]
    metric = LogitDifference(answer, wrong, position)
    return Prompts(_alone(rows, first), _alone(rows, second), metric, answer, wrong, position, speaks)


def words_of(data: Dataset, axis: str) -> list[list[str]]:
    """Each sequence's real positions in words."""
    rows = data.on_axis(axis)
    if rows.tokens.is_floating_point():
        return [[ANY_STEP] * int(n) for n in rows.mask.sum(1)]
    ids = [tokens[mask].tolist() for tokens, mask in zip(rows.tokens, rows.mask, strict=True)]
    return [token_strings(data.tokenizer, row) for row in ids]


def _asked_at_last(clean: Dataset, corrupt: Dataset, answer: Tensor, wrong: Tensor, *, speaks: bool) -> Prompts:
    aligned(clean, corrupt)
    position = clean.mask.sum(1) - 1
    return Prompts(clean, corrupt, LogitDifference(answer, wrong, position), answer, wrong, position, speaks)


@torch.inference_mode()
def _likeliest(model: Any, data: Dataset) -> int:
    with as_evaluated(model):
        return int(run(model, data.batch(slice(None)))[0, -1].argmax())


def _one_token(model: Any, text: str) -> int:
    ids = model.tokenizer.encode(text, add_special_tokens=False).ids
    if len(ids) != 1:
        pieces = ", ".join(map(repr, token_strings(model.tokenizer, ids))) or "none"
        raise ValueError(f"the answer {text!r} is {len(ids)} tokens ({pieces}): it must be one.")
    return int(ids[0])


def _partners(
    rows: Dataset, targets: Int[Tensor, "seq pos"] | None, n: int, rng: np.random.Generator
) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"], Int[Tensor, " pair"]]:
    """Pairs of rows of the same lengths, each first row once; and the last position that they answer differently.

    Where answers are vectors, what is read must differ, and the position is the last.
    """
    lengths = rows.mask.sum(1)[:, None]
    if rows.source_mask is not None:
        lengths = torch.cat([lengths, rows.source_mask.sum(1)[:, None]], 1)
    found = []
    for first in rng.permutation(len(rows)).tolist():
        if targets is None:
            apart = (rows.tokens != rows.tokens[first]).flatten(2).any(2)
        else:
            apart = (targets != targets[first]) & (targets != IGNORED) & (targets[first] != IGNORED)
        apart = apart & (lengths == lengths[first]).all(1)[:, None]
        others = apart.any(1).nonzero()[:, 0].tolist()
        if others:
            second = others[int(rng.integers(len(others)))]
            found.append((first, second, int(apart[second].nonzero()[-1, 0])))
        if len(found) == n:
            break
    if not found:
        raise ValueError("no two examples are of one length and answered differently: patching wants such a pair.")
    first, second, position = torch.tensor(found).T
    return first, second, position


def _alone(rows: Dataset, chosen: Tensor) -> Dataset:
    """Some sequences in any order, each a document of its own."""
    batch: dict[str, Any] = rows.batch(chosen)
    tokens, mask = batch.pop("input"), batch.pop("mask")
    return Dataset(tokens, mask, bos=rows.bos, tokenizer=rows.tokenizer, **batch)
