"""What another text does to a reading: the two token by token, and the features that come and go."""

from difflib import SequenceMatcher

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from workbench.features.reading.prompt import PromptReading
from workbench.features.reading.text import TextReading

Pair = tuple[int | None, int | None]
CAME, WENT, CHANGED = "came", "went", "changed"
# Texts of other lengths are multiplied in another order: what nothing has changed differs by less than this share.
_ROUNDING = 1e-4


def with_token(tokenizer: Tokenizer, text: str, position: int, new: str) -> str:
    """The text with another string in the place of one of its tokens.

    A token that is one of the pieces of a character stands for the whole of it.

    Args:
        tokenizer: the subject's.
        text: without BOS.
        position: of the token as it was read, BOS at 0.
        new: what stands there instead; nothing takes the token away.

    Raises:
        ValueError: no token of the text stands there.
    """
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    if not 1 <= position <= len(offsets):
        raise ValueError(f"position {position} has no token of this text: they stand at 1 to {len(offsets)}.")
    start, end = offsets[position - 1]
    # Some tokenizers leave out the white space that a token begins with: it goes on from the one before.
    before = offsets[position - 2][1] if position > 1 else 0
    return text[: min(start, before)] + new + text[end:]


def aligned(first: TextReading, second: TextReading) -> list[Pair]:
    """Which token of one text stands for which of another: their positions; None where the other has none.

    Texts of as many tokens are aligned place by place, others by what they have in common (`difflib`); within a stretch
    that was replaced, tokens are paired from its start.
    """
    a, b = first.token_ids.tolist(), second.token_ids.tolist()
    if len(a) == len(b):
        return [(i, i) for i in range(len(a))]
    pairs: list[Pair] = []
    for _, start, stop, start2, stop2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        shared = min(stop - start, stop2 - start2)
        pairs += [(start + i, start2 + i) for i in range(shared)]
        pairs += [(i, None) for i in range(start + shared, stop)]
        pairs += [(None, i) for i in range(start2 + shared, stop2)]
    return pairs


def counterpart(pairs: list[Pair], position: int) -> int | None:
    """Where the token of the first text at a position stands in the second; None where it is gone."""
    return next((second for first, second in pairs if first == position), None)


def changed_tokens(first: TextReading, second: TextReading) -> pd.DataFrame:
    """Two readings token by token.

    Returns:
        A line a pair of `aligned`: `position` and `position2` (missing where there is none), `token` and `token2`,
        `edited` (whether they are not the same token), `loss` and `loss2` in nats, and their `difference`, the second
        less the first: NaN unless both are known.
    """
    found = []
    for one, other in aligned(first, second):
        loss, loss2 = (np.nan if i is None else float(r.loss[i]) for r, i in ((first, one), (second, other)))
        token, token2 = (None if i is None else r.tokens[i] for r, i in ((first, one), (second, other)))
        same = one is not None and other is not None and first.token_ids[one] == second.token_ids[other]
        found.append((one, other, token, token2, not same, loss, loss2, loss2 - loss))
    names = ["position", "position2", "token", "token2", "edited", "loss", "loss2", "difference"]
    return pd.DataFrame(found, columns=names).astype({"position": "Int64", "position2": "Int64"})


def changed_features(
    first: PromptReading, second: PromptReading, position: int | None, position2: int | None
) -> pd.DataFrame:
    """The features that fire otherwise at a token of one text than at one of another; those that changed most first.

    Where one of the positions is None nothing fires there.

    Returns:
        A line a feature that fires at either: `feature`, `value` and `value2`, their `difference` (the second less the
        first), and `what`: it `came`, `went` or `changed`. Those whose value is the same but for rounding are left out.
    """
    values, values2 = (
        {} if at is None else dict(zip(r.features[at].tolist(), r.values[at].tolist(), strict=True))
        for r, at in ((first, position), (second, position2))
    )
    found = []
    for feature in sorted(values.keys() | values2.keys()):
        one, other = values.get(feature, 0.0), values2.get(feature, 0.0)
        what = CAME if feature not in values else WENT if feature not in values2 else CHANGED
        found.append((feature, one, other, other - one, what))
    kinds = {"feature": int, "value": float, "value2": float, "difference": float}
    table = pd.DataFrame(found, columns=[*kinds, "what"]).astype(kinds)
    table = table[~np.isclose(table["value"], table["value2"], rtol=_ROUNDING, atol=0)]
    return table.sort_values("difference", key=abs, ascending=False, kind="stable", ignore_index=True)
