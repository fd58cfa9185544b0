"""Where an intervention has an effect: hooks against positions, heads or units, the control's map with it."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from workbench.figures.hook_names import head_names, short_hooks
from workbench.figures.palette import Layers, require_columns
from workbench.figures.panels import Stack, panels
from workbench.figures.words import position_labels

_WIDE = 12  # columns: with more, the control's map stands below


def patching_map(
    results: pd.DataFrame,
    tokens: Sequence[str] | None = None,
    *,
    along: str = "position",
    changed: Mapping[int, str] | None = None,
    title: str = "share of the effect restored",
) -> Layers:
    """Hooks (or heads) × positions: vermilion where an intervention lowers the metric, blue where it raises it.

    Where one place has several lines, as of several seeds, their mean is drawn. Effects of ±1 have the full colour,
    unless none comes near.

    Args:
        results: as patching, attribution or ablation makes it: `hook`, `variant`, `effect`, and `layer`, `head`,
            `position` and `unit` as far as they were taken one at a time. Variants are maps of their own: the
            intervention, then its control.
        tokens: the words at positions from 0.
        along: the column that runs to the right: `position`, `head` or `unit`.
        changed: for positions at which the corrupt prompt has another token, that one.
        title: what the effect is.

    Raises:
        ValueError: a column is missing, or nothing was taken one at a time along it.
    """
    require_columns(results, ["hook", "variant", "effect", along], "patching_map")
    shown = results[results[along].notna()]
    if shown.empty:
        raise ValueError(f"patching_map has nothing to draw along: no line says of which {along} it is.")
    short = short_hooks(shown["hook"].unique().tolist())
    row = shown["hook"].map(short)
    if along != "head" and "head" in shown and shown["head"].notna().all():
        row = row + " head " + head_names(shown).str.split(".").str[1]
    at = shown[along].astype(int)
    labels = {int(i): str(i) for i in sorted(at.unique())}
    if along == "position" and tokens is not None:
        words = position_labels(tokens)
        labels = {i: words[i] + (f" ({changed[i]})" if changed and i in changed else "") for i in labels}
    cells = pd.DataFrame({"panel": shown["variant"], "row": row, "column": at.map(labels), "value": shown["effect"]})
    means = cells.groupby(["panel", "row", "column"], sort=False, as_index=False)["value"].mean()
    order = cells["row"].unique().tolist()
    known = means["value"].abs().max()
    stack: Stack = "below" if len(labels) > _WIDE else "beside"
    return panels(
        means,
        rows=order[::-1],  # what comes last in the subject is on top
        columns=list(labels.values()),
        stack=stack,
        title=title,
        signed=True,
        largest=1.0 if 0.5 < known < 2 else None,
        column_title=None if along == "position" else along,
        tooltip=[alt.Tooltip("row:N", title="hook")],
    )
