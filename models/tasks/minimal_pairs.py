"""Minimal pairs of Python source: prompts that differ in one place, and so in what comes next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer
from torch import Tensor

from models.corpus.tokenizer import BOS_ID, encode
from models.dataset import Dataset
from models.tasks.base import NOTHING, label_table

NAMES = (
    *("data", "value", "name", "result", "index", "key", "item", "text", "path", "size", "line", "node", "count"),
    *("total", "args", "list", "file", "error", "message", "start", "end", "code", "type", "func", "obj", "info"),
    *("state", "test", "length", "source", "target", "level", "mode", "other", "parent", "default", "x", "y", "n"),
)
Candidate = tuple[str, str, str, str]  # clean prompt, its answer, corrupt prompt, its answer
_ROUNDS = 20


@dataclass(frozen=True)
class MinimalPairs:
    """Pairs of prompts, equally long in tokens and aligned token by token, each begun with BOS.

    Attributes:
        clean_text, corrupt_text: the prompts.
        clean, corrupt: their token ids, padded with 0 at the end.
        mask: True where a position is real; the same for both.
        differs: where the two have different tokens.
        position: of the last token, whose next one is asked.
        answer: the token that comes next in the clean text.
        wrong: the token that comes next in the corrupt text.
    """

    clean_text: list[str]
    corrupt_text: list[str]
    clean: Int[Tensor, "pair time"]
    corrupt: Int[Tensor, "pair time"]
    mask: Bool[Tensor, "pair time"]
    differs: Bool[Tensor, "pair time"]
    position: Int[Tensor, " pair"]
    answer: Int[Tensor, " pair"]
    wrong: Int[Tensor, " pair"]

    def __len__(self) -> int:
        return len(self.clean_text)

    def dataset(self, tokenizer: Tokenizer | None = None) -> Dataset:
        """Clean prompts and, behind them, corrupt ones, each asked for its answer after its last token.

        Labels: `differs`, where the two prompts of a pair have different tokens; `is_last`, where the answer is asked;
        `corrupt`, which of the two prompts it is. Documents are pairs.
        """
        tokens, mask = torch.cat([self.clean, self.corrupt]), torch.cat([self.mask, self.mask])
        rows, position = torch.arange(len(tokens)), torch.cat([self.position, self.position])
        targets = torch.full_like(tokens, NOTHING)
        targets[rows, position] = torch.cat([self.answer, self.wrong])
        is_last = torch.zeros_like(mask)
        is_last[rows, position] = True
        truth = {
            "differs": torch.cat([self.differs, self.differs]),
            "is_last": is_last,
            "corrupt": (rows >= len(self))[:, None].expand_as(mask),
        }
        counted = mask.clone()
        counted[:, 0] = False
        pair = rows % len(self)
        return Dataset(
            tokens=tokens,
            mask=mask,
            targets=targets,
            docs=pair,
            labels=label_table({name: value.numpy() for name, value in truth.items()}, mask.numpy(), counted.numpy()),
            doc_table=pa.table({"name": [f"pair {i}" for i in range(len(self))], "split": ["train"] * len(self)}),
            tokenizer=tokenizer,
        )


def python_minimal_pairs(kind: str, n: int, seed: int, tokenizer: Tokenizer) -> MinimalPairs:
    """`n` different pairs of a kind, for activation patching (Wang et al. 2022, arXiv 2211.00593, on names in English).

    Kinds: `bracket`, the one that was opened last is closed; `quote`, a string ends with the mark it began with;
    `name`, one of two names known comes again; `keyword`, after a colon `def` in a class but `return` in a function,
    `break` in a loop but `return` in a condition. Which prompt of a pair is the clean one is by chance.

    Pairs whose prompts have not the same number of tokens, or whose answers are not one token each that leaves the
    prompt's tokens as they are, are dropped and others drawn.

    Raises:
        ValueError: the kind is unknown, or too few pairs are aligned under this tokenizer.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of minimal pair is called {kind!r}: there are {', '.join(KINDS)}.")
    if n < 1:
        raise ValueError(f"{n} pairs were asked for: it must be at least 1.")
    rng = np.random.default_rng(seed)
    found: dict[str, tuple[Candidate, _Tokens]] = {}
    tried = 0
    for _ in range(_ROUNDS):
        candidates = [_swapped(KINDS[kind](rng), rng) for _ in range(2 * n + 50)]
        tried, before = tried + len(candidates), len(found)
        for candidate, tokens in _aligned(candidates, tokenizer):
            found.setdefault(candidate[0], (candidate, tokens))
        if len(found) >= n:
            return _collate(list(found.values())[:n])
        if len(found) == before:
            break
    raise ValueError(
        f"of {tried} {kind} pairs drawn, only {len(found)} different ones are aligned under this tokenizer, but {n} "
        "are wanted: ask for fewer, or train the tokenizer on more Python or with more pieces."
    )


_Tokens = tuple[np.ndarray, np.ndarray]  # of the clean prompt with its answer, and of the corrupt one with its own


def _aligned(candidates: list[Candidate], tokenizer: Tokenizer) -> Iterator[tuple[Candidate, _Tokens]]:
    """Those whose prompts, and prompts with either answer, are tokenised alike."""
    texts = [text + end for a, x, b, y in candidates for text in (a, b) for end in ("", x, y)]
    ids = iter(encode(tokenizer, texts))
    for candidate, (a, a_x, a_y, b, b_x, b_y) in zip(candidates, zip(*[ids] * 6, strict=True), strict=True):
        answers_fit = all(
            len(whole) == len(prompt) + 1 and np.array_equal(whole[:-1], prompt)
            for prompt, whole in ((a, a_x), (a, a_y), (b, b_x), (b, b_y))
        )
        if answers_fit and len(a) == len(b) and a_x[-1] == b_x[-1] != a_y[-1] == b_y[-1]:
            yield candidate, (a_x, b_y)


def _collate(pairs: list[tuple[Candidate, _Tokens]]) -> MinimalPairs:
    lengths = np.array([len(clean) for _, (clean, _) in pairs])  # BOS more, the answer less
    ids = np.full((2, len(pairs), lengths.max()), BOS_ID, dtype=np.int64)
    for row, (_, both) in enumerate(pairs):
        for side, tokens in enumerate(both):
            ids[side, row, 1 : len(tokens)] = tokens[:-1]
    answers = torch.tensor([[int(tokens[-1]) for tokens in both] for _, both in pairs])
    clean, corrupt = torch.from_numpy(ids)
    return MinimalPairs(
        clean_text=[candidate[0] for candidate, _ in pairs],
        corrupt_text=[candidate[2] for candidate, _ in pairs],
        clean=clean,
        corrupt=corrupt,
        mask=torch.from_numpy(np.arange(ids.shape[-1]) < lengths[:, None]),
        differs=clean != corrupt,
        position=torch.from_numpy(lengths - 1),
        answer=answers[:, 0],
        wrong=answers[:, 1],
    )


def _swapped(candidate: Candidate, rng: np.random.Generator) -> Candidate:
    a, x, b, y = candidate
    return (b, y, a, x) if rng.integers(2) else candidate


def _words(rng: np.random.Generator, n: int) -> list[str]:
    return [NAMES[i] for i in rng.choice(len(NAMES), size=n, replace=False)]


def _bracket(rng: np.random.Generator) -> Candidate:
    a, f, x, y = _words(rng, 4)
    pairs = ["()", "[]", "{}"]
    prompts = [
        (f"{a} = {f}", x, 2),
        (f"    return {f}", x, 2),
        (f"if {f}", x, 2),
        (f"for {a} in {f}", x, 2),
        (f"{a} = ", f"{x}, {y}", 3),
        ("    return ", f"{x}, {y}", 3),
    ]
    before, inside, n_types = prompts[rng.integers(len(prompts))]
    first, second = rng.choice(n_types, size=2, replace=False)
    (open_1, close_1), (open_2, close_2) = pairs[first], pairs[second]
    return before + open_1 + inside, close_1, before + open_2 + inside, close_2


def _quote(rng: np.random.Generator) -> Candidate:
    a, f, x = _words(rng, 3)
    prompts = [f"{a} = ", f"    return {f}(", f"{a} = {f}[", f"if {a} == ", f"{a}.{f}("]
    before = prompts[rng.integers(len(prompts))]
    return f'{before}"{x}', '"', f"{before}'{x}", "'"


def _name(rng: np.random.Generator) -> Candidate:
    f, x, y = _words(rng, 3)
    known = f"def {f}(self, {x}, {y}):\n    "
    prompts: list[Callable[[str], str]] = [
        lambda name: f"{known}self.{name} =",
        lambda name: f"{known}if {name} is not None:\n        return",
        lambda name: f"{x} = 1\n{y} = 1\nwhile {name} < 10:\n   ",
    ]
    prompt = prompts[rng.integers(len(prompts))]
    return prompt(x), f" {x}", prompt(y), f" {y}"


def _keyword(rng: np.random.Generator) -> Candidate:
    f, x, y = _words(rng, 3)
    if rng.integers(2):
        return f"class {f}({x}):\n   ", " def", f"def {f}({x}):\n   ", " return"
    known = f"def {f}({x}, {y}):\n    "
    inner = f" {x}:\n        if {y}:\n           "
    return f"{known}while{inner}", " break", f"{known}if{inner}", " return"


KINDS: dict[str, Callable[[np.random.Generator], Candidate]] = {
    "bracket": _bracket,
    "quote": _quote,
    "name": _name,
    "keyword": _keyword,
}
