"""`head_importance`: what it costs to lose each head, and what attention is like where that counts."""

from typing import Any

import pandas as pd

from workbench.interventions.ablation import ABLATED, ablate
from workbench.interventions.metrics import Metric, TargetLoss
from workbench.interventions.pairs import Given
from workbench.interventions.stand_ins import Ablation

OUTPUT, PATTERN = "hook_z", "hook_pattern"


def head_importance(
    model: Any,
    data: Given,
    metric: Metric | None = None,
    *,
    ablation: Ablation = "mean",
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
    **keywords: Any,
) -> pd.DataFrame:
    """Ablate every head of a subject, one at a time.

    Args:
        model: a subject whose heads have an output `hook_z`.
        data: the sequences.
        metric: what is measured; the loss of each sequence, in nats, where it is None.
        ablation: what stands in for a head's output; it is named in the table.
        n_controls: random directions for each head, as large a change.
        batch_size: sequences a pass.
        seed: of controls and intervals.
        **keywords: others of `ablate`.

    Returns:
        `ablate`'s table with `share`, a head's part of Σ |effect| over the heads of a variant and seed.

    Raises:
        ValueError: no head has such an output, or `ablate` refuses.
    """
    hooks = [name for name in model.hook_dict if name.endswith(f".{OUTPUT}")]
    if not hooks:
        raise ValueError(f"a {type(model).__name__} like this has no heads whose output could be ablated ({OUTPUT}).")
    table = ablate(
        model,
        data,
        TargetLoss() if metric is None else metric,
        hooks,
        ablation=ablation,
        by=("head",),
        n_controls=n_controls,
        batch_size=batch_size,
        seed=seed,
        **keywords,
    )
    size = table["effect"].abs()
    whole = size.groupby([table["variant"], table["seed"].fillna(-1)]).transform("sum")
    return table.assign(share=(size / whole).where(whole > 0))


def weighted_scores(scores: pd.DataFrame, importance: pd.DataFrame) -> pd.DataFrame:
    """Scores of heads as they count for the metric: each head's weighted by its share of what ablations cost.

    Args:
        scores: of `head_scores`.
        importance: of `head_importance`, of the same subject.

    Returns:
        A line for each `text` and `score`: `ablation`; `value`, Σ share · score; `unweighted`, the heads' plain mean,
        and `control`, the mean of random heads, that it is held against.

    Raises:
        ValueError: a head was scored that was not ablated, or no ablation changed anything.
    """
    lost = importance[importance["variant"] == ABLATED]
    at = lost["hook"].str.removesuffix(OUTPUT) + PATTERN
    share = lost.assign(hook=at).set_index(["hook", "head"])["share"]
    joined = scores.join(share, on=["hook", "head"])
    if joined["share"].isna().any():
        raise ValueError("some heads that were scored have no importance: ablate all of them, with some effect.")
    of = joined.assign(value=joined["value"] * joined["share"], unweighted=joined["value"]).groupby(["text", "score"])
    # A score may be of some layers alone: shares are then of what these cost.
    made = of.agg(
        value=("value", "sum"), share=("share", "sum"), unweighted=("unweighted", "mean"), control=("control", "mean")
    ).reset_index()
    made["value"] /= made.pop("share")
    made.insert(2, "ablation", lost["ablation"].iloc[0])
    return made
