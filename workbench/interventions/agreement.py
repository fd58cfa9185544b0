"""`agreement`: how well estimates of patches tell what patching finds."""

import pandas as pd

from workbench.interventions.hook_parts import COLUMNS
from workbench.interventions.patching import PATCH


def agreement(estimated: pd.DataFrame, patched: pd.DataFrame) -> pd.DataFrame:
    """How well estimates tell what patching found, hook by hook and over all (`hook` is then missing).

    Args:
        estimated: what `attribution_patching` gave.
        patched: what `activation_patching` gave, of the same hooks, by the same.

    Returns:
        A line for each hook and `variant` of the estimates, the controls' beside theirs: the correlation of their
        effects with the patches', `pearson`, that of their ranks, `spearman`, and over how many `lines`.

    Raises:
        ValueError: no part is in both.
    """
    true = patched[patched["variant"] == PATCH][[*COLUMNS, "effect"]]
    joined = estimated.merge(true, on=list(COLUMNS), suffixes=("", "_patched"))
    if joined.empty:
        raise ValueError("the two tables have no part in common: take them of the same hooks, by the same.")
    rows = []
    for variant, lines in joined.groupby("variant", sort=False):
        for hook, of_hook in [(None, lines), *lines.groupby("hook", sort=False)]:
            pair = of_hook["effect"], of_hook["effect_patched"]
            found = {method: pair[0].corr(pair[1], method=method) for method in ("pearson", "spearman")}
            rows.append({"hook": hook, "variant": variant} | found | {"lines": len(of_hook)})
    return pd.DataFrame(rows)
