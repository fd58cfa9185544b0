"""How far an edit of a text moves what stands at each layer, beside edits to random tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.features.reading.changed import aligned, changed_tokens
from workbench.features.reading.prompt import PromptReading
from workbench.interventions.values import values_at

EDIT, RANDOM_TOKENS = "this edit", "random tokens"


def state_change(
    model: Any,
    first: PromptReading,
    second: PromptReading,
    position: int,
    *,
    hooks: Sequence[str],
    n_controls: int = 8,
    seed: int = 0,
) -> pd.DataFrame:
    """At one token, how far apart two texts' states are, layer by layer.

    The control puts tokens drawn at random from the vocabulary where the second text has others than the first; a text
    that only lost tokens has none.

    Args:
        model: the subject.
        first: a reading, with what stood at the hooks.
        second: another's.
        position: of the token in the first text; in the second it is that which is aligned with it.
        hooks: in the order of the subject.
        n_controls: how many draws.
        seed: of the first.

    Returns:
        Lines by `hook`, `variant` (`this edit`, `random tokens`) and `measure`: `norm`, the length of the difference,
        and `share`, that length over the first state's; `value`, of the control the mean over its draws with `low` and
        `high`, the smallest and the largest of these.

    Raises:
        ValueError: the token is not in the second text.
    """
    place = dict(aligned(first, second)).get(position)
    if place is None:
        raise ValueError("this token is not in the second text: choose one that is in both.")
    before = {hook: first.held[hook][position] for hook in hooks}
    moved = {hook: (second.held[hook][place] - before[hook])[None] for hook in hooks}
    rows = _rows(EDIT, before, moved)
    texts = _controls(model, first, second, n_controls, seed)
    if texts is not None:
        held = values_at(model, {"input": texts}, list(hooks))
        drawn = {hook: held[hook][:, place].flatten(1).float().cpu() - before[hook] for hook in hooks}
        rows += _rows(RANDOM_TOKENS, before, drawn)
    return pd.DataFrame(rows, columns=["hook", "variant", "measure", "value", "low", "high"])


def _controls(model: Any, first: PromptReading, second: PromptReading, n: int, seed: int) -> Tensor | None:
    """The second text with random tokens for those that it has of its own; None where it has none."""
    pairs = changed_tokens(first, second)
    edited = pairs.loc[pairs["edited"] & pairs["position2"].notna()]
    if edited.empty:
        return None
    rng = np.random.default_rng(seed)
    texts = np.repeat(second.token_ids[None], n, 0)
    for _, pair in edited.iterrows():
        place = int(pair["position2"])
        taken = [model.bos, second.token_ids[place]]
        taken += [] if pd.isna(pair["position"]) else [first.token_ids[int(pair["position"])]]
        texts[:, place] = rng.choice(np.setdiff1d(np.arange(model.cfg.d_vocab), taken), n)
    return torch.from_numpy(texts)


def _rows(
    variant: str, before: Mapping[str, Float[Tensor, " d"]], moved: Mapping[str, Float[Tensor, "n d"]]
) -> list[tuple[str, str, str, float, float, float]]:
    rows = []
    for hook, difference in moved.items():
        norms = difference.norm(dim=-1).numpy()
        for measure, of in (("norm", 1.0), ("share", max(float(before[hook].norm()), 1e-12))):
            low, high = (norms.min() / of, norms.max() / of) if len(norms) > 1 else (np.nan, np.nan)
            rows.append((hook, variant, measure, float(norms.mean() / of), float(low), float(high)))
    return rows
