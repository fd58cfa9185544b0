"""Which opening bracket each closing one belongs to, told from exact labels of brackets and their depth."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from workbench.attention.patterns import Keys, Tokens

CLOSED_BY = {")": "(", "]": "[", "}": "{"}
NOWHERE = -1


def matching_bracket(tokens: Tokens, labels: Mapping[str, Any]) -> Keys:
    """From each closing bracket, the one that opened it. Needs the labels `bracket` and `bracket_depth`."""
    matched, _ = bracket_places(labels)
    return _as_keys(matched, tokens)


def open_bracket(tokens: Tokens, labels: Mapping[str, Any]) -> Keys:
    """From each token inside brackets, but from no bracket, the innermost one that is open. Needs the same labels."""
    _, inside = bracket_places(labels)
    return _as_keys(inside, tokens)


def bracket_places(labels: Mapping[str, Any]) -> tuple[Int[np.ndarray, "batch pos"], Int[np.ndarray, "batch pos"]]:
    """For each closing bracket the position of its opening one, and for each other token that of the one it stands in.

    −1 where there is none, or none that is known: it stands before the sequence, or inside a token that begins with
    something else (`__(`), which the labels are not of. A token is what it begins with, so that `):` closes.
    """
    brackets, depths = labels["bracket"], labels["bracket_depth"]
    matched, inside = np.full(brackets.shape, NOWHERE), np.full(brackets.shape, NOWHERE)
    for seq in np.flatnonzero((depths > 0).any(1)):
        opened: dict[int, int] = {}  # by depth, the latest bracket
        row = zip(brackets[seq].tolist(), depths[seq].tolist(), strict=True)
        for pos, (bracket, depth) in enumerate(row):
            if depth != depth:  # BOS and padding
                continue
            if opened and max(opened) > depth:
                opened = {d: place for d, place in opened.items() if d <= depth}
            if bracket in CLOSED_BY:
                place = opened.pop(int(depth), NOWHERE)
                # Of another kind: what opened it stands inside a token.
                if place != NOWHERE and brackets[seq, place] == CLOSED_BY[bracket]:
                    matched[seq, pos] = place
            elif bracket is not None:
                opened[int(depth)] = pos
            else:
                inside[seq, pos] = opened.get(int(depth), NOWHERE)
    return matched, inside


def _as_keys(place: Int[np.ndarray, "batch pos"], tokens: Tokens) -> Keys:
    keys = torch.zeros(*tokens.shape, tokens.shape[1], dtype=torch.bool, device=tokens.device)
    seq, query = np.nonzero(place != NOWHERE)
    keys[torch.from_numpy(seq), torch.from_numpy(query), torch.from_numpy(place[seq, query])] = True
    return keys
