"""`Prompts`: clean and corrupt sequences with what is asked of them: two texts, minimal pairs, or a task's examples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.loss import IGNORED
from models.tasks.minimal_pairs import python_minimal_pairs
from workbench.features.text_reading import check_reads_text
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

    def __len__(self) -> int:
        return len(self.clean)

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
    clean, corrupt = (Dataset(ids, pairs.mask, tokenizer=model.tokenizer) for ids in (pairs.clean, pairs.corrupt))
    return Prompts(clean, corrupt, LogitDifference.of(pairs), pairs.answer, pairs.wrong, pairs.position, speaks=True)


def example_prompts(data: Dataset, n: int, seed: int) -> Prompts:
    """Pairs of a task's held-out examples: each with another of the same length whose last answer is another.

    Where nothing but the next token is asked, the last token is the answer and is left out of the prompt.

    Raises:
        ValueError: no two examples are of one length and answered differently.
    """
    whole_number(n, "the number of examples", least=1)
    rng = np.random.default_rng(whole_number(seed, "seed"))
    held_out = data.sequences("test")
    rows = data.select(held_out if len(held_out) else data.sequences())
    vectors = rows.tokens.is_floating_point() or (rows.targets is not None and rows.targets.is_floating_point())
    if rows.targets is not None and rows.targets.is_floating_point():
        answer = position = None
    elif rows.targets is None:
        if vectors:
            raise ValueError("these sequences are of vectors that nothing is asked of: there is no answer to restore.")
        rows, answer, position = _without_last(rows)
    else:
        asked = rows.mask & (rows.targets != IGNORED)
        if not asked.any(1).all():
            raise ValueError("some examples are asked nothing: there is no answer to restore.")
        position = asked.shape[1] - 1 - asked.flip(1).int().argmax(1)
        answer = rows.targets[torch.arange(len(rows)), position]
    chosen = _partners(rows, answer, n, rng)
    pair = [_alone(rows, torch.tensor(side)) for side in zip(*chosen, strict=True)]
    if answer is None or position is None:
        return Prompts(pair[0], pair[1], TargetError(), None, None, None, speaks=False)
    first, second = (torch.tensor(side) for side in zip(*chosen, strict=True))
    asked_for = answer[first], answer[second]
    metric = LogitDifference(asked_for[0], asked_for[1], position[first])
    return Prompts(pair[0], pair[1], metric, *asked_for, position[first], speaks=rows.targets is None)


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
    was_training = model.training
    model.eval()
    try:
        return int(run(model, data.batch(slice(None)))[0, -1].argmax())
    finally:
        model.train(was_training)


def _one_token(model: Any, text: str) -> int:
    ids = model.tokenizer.encode(text, add_special_tokens=False).ids
    if len(ids) != 1:
        pieces = ", ".join(map(repr, token_strings(model.tokenizer, ids))) or "none"
        raise ValueError(f"the answer {text!r} is {len(ids)} tokens ({pieces}): it must be one.")
    return int(ids[0])


def _without_last(rows: Dataset) -> tuple[Dataset, Tensor, Tensor]:
    whole = rows.select(torch.nonzero(rows.mask.all(1))[:, 0])
    if not len(whole) or whole.tokens.shape[1] < 3:
        raise ValueError("no example is long enough to leave its last token out.")
    cut = {name: value for name, value in whole.batch(slice(None)).items() if name not in ("input", "mask")}
    prompts = Dataset(whole.tokens[:, :-1], bos=whole.bos, tokenizer=whole.tokenizer, **cut)
    return prompts, whole.tokens[:, -1], torch.full((len(whole),), prompts.tokens.shape[1] - 1)


def _partners(rows: Dataset, answer: Tensor | None, n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of rows of the same lengths, answered differently, each first row once."""
    lengths = rows.mask.sum(1)
    if rows.source_mask is not None:
        lengths = torch.stack([lengths, rows.source_mask.sum(1)], 1)
    else:
        lengths = lengths[:, None]
    found = []
    for first in rng.permutation(len(rows)).tolist():
        fits = (lengths == lengths[first]).all(1)
        fits &= (rows.tokens != rows.tokens[first]).flatten(1).any(1) if answer is None else answer != answer[first]
        others = fits.nonzero()[:, 0].tolist()
        if others:
            found.append((first, others[int(rng.integers(len(others)))]))
        if len(found) == n:
            return found
    if not found:
        raise ValueError("no two examples are of one length and answered differently: patching wants such a pair.")
    return found


def _alone(rows: Dataset, chosen: Tensor) -> Dataset:
    """Some sequences in any order, each a document of its own."""
    batch = rows.batch(chosen)
    tokens, mask = batch.pop("input"), batch.pop("mask")
    return Dataset(tokens, mask, bos=rows.bos, tokenizer=rows.tokenizer, **batch)
