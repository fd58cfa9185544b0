"""What attention moves in the sequences that `workbench heads` keeps: value-weighted patterns, and rollout."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.dataset import Dataset
from workbench.attention.rollout import WEIGHTS, rollout, stream_value_weighted
from workbench.attention.streaming import PATTERN, PatternHook
from workbench.experiments.heads_results import CONTROL, OWN

Patterns = Mapping[tuple[str, int], Float[Tensor, "head query key"]]
# By how much values change where a head looks; how much of what it moves is the first position's; how long that is.
SHIFT, FIRST, LENGTH = "shift", "first", "length"


def with_values(model: Any, hooks: Iterable[PatternHook]) -> list[PatternHook]:
    """The attentions that move values of their own, by a W_O that is known."""
    return [hook for hook in hooks if hook.name.removesuffix(PATTERN) + "hook_v" in model.hook_dict]


@torch.inference_mode()
def moved_in(
    model: Any, data: Dataset, hooks: list[PatternHook]
) -> dict[tuple[str, int], Float[Tensor, "head query key"]]:
    """By hook and sequence the lengths of what is moved (`value_weighted`), at the real positions."""
    found: dict[tuple[str, int], Tensor] = {}

    def keep(hook: PatternHook, moved: Tensor, rows: range) -> None:
        for row, of_row in zip(rows, moved, strict=True):
            n_queries, n_keys = (int(data.on_axis(axis).mask[row].sum()) for axis in (hook.queries, hook.keys))
            found[hook.name, row] = of_row[:, :n_queries, :n_keys].float().cpu().clone()

    stream_value_weighted(model, data, hooks, keep)
    return found


def moved_table(
    hooks: Sequence[PatternHook], own: tuple[Patterns, Patterns], control: tuple[Patterns, Patterns]
) -> pd.DataFrame:
    """What values change of where heads look, beside the control's heads.

    Args:
        hooks: whose.
        own: the subject's attention, and the lengths of what it moves (`moved_in`).
        control: the same of the control.

    Returns:
        `hook, layer, head, measure, value`, and over the control's heads of that layer `control` (mean), `control_low`,
        `control_high`. Measures, means over queries but the first of a causal pattern: `shift`, ½ Σ |A − M|, where M is
        each key's share of what is moved; `first`, the first position's share; `length`, Σ ‖A v W_O‖.
    """
    ours, theirs = _measured(hooks, *own), _measured(hooks, *control)
    beside = theirs.groupby(["hook", "measure"])["value"].agg(["mean", "min", "max"])
    beside.columns = pd.Index(["control", "control_low", "control_high"])
    return ours.join(beside, on=["hook", "measure"])


def rollouts_of(
    model: Any, control: Any, data: Dataset, hooks: Sequence[PatternHook]
) -> dict[tuple[str, str, str, int], Float[Tensor, "query key"]]:
    """By side, weights, variant (the subject or its control) and sequence the rollout, at the real positions."""
    found = {}
    for axis in dict.fromkeys(hook.queries for hook in hooks if not hook.is_cross):
        own = [hook for hook in hooks if hook.queries == hook.keys == axis]
        known = WEIGHTS if len(with_values(model, own)) == len(own) else WEIGHTS[:1]
        for weights in known:
            for variant, subject in ((OWN, model), (CONTROL, control)):
                whole = rollout(subject, data, weights=weights, axis=axis)
                for row, n in enumerate(data.on_axis(axis).mask.sum(1).tolist()):
                    found[axis, weights, variant, row] = whole[row, :n, :n].float().cpu().clone()
    return found


def _measured(hooks: Sequence[PatternHook], patterns: Patterns, moved: Patterns) -> pd.DataFrame:
    rows = []
    for hook in hooks:
        of_hook: dict[str, list[Tensor]] = {SHIFT: [], FIRST: [], LENGTH: []}
        for at in [at for at in moved if at[0] == hook.name]:
            A, lengths = patterns[at], moved[at]
            if hook.is_causal and A.shape[1] > 1:  # the first query has one key: nothing can be changed
                A, lengths = A[:, 1:], lengths[:, 1:]
            total = lengths.sum(-1)
            shares = lengths / total.clamp_min(1e-12)[..., None]
            of_hook[SHIFT].append((A - shares).abs().sum(-1) / 2)
            of_hook[FIRST].append(shares[..., 0])
            of_hook[LENGTH].append(total)
        for measure, parts in of_hook.items():
            for head, value in enumerate(torch.cat(parts, 1).mean(1).tolist()):
                place = {"hook": hook.name, "layer": hook.layer, "head": head}
                rows.append(place | {"measure": measure, "value": value})
    return pd.DataFrame(rows).astype({"layer": "Int64", "head": "Int64"})
