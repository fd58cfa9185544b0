"""What can be read where: a heat map of probes, the control beside it."""

from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import NEURONS, RULE, TRAINED, Layers, require_columns
from workbench.figures.probe_scores import SCORES, Score, interval, reasons

PROBE = "probe"
# With more columns than these a number would not fit into its cell.
MOST_WITH_NUMBERS = 15
_STEP = 15  # pixels a row
_LABEL_LIMIT = 150
_LIGHT_FROM = 0.5  # of the colour scale: from here on a number is dark
_DARK, _LIGHT = "#101418", "#f4f6f8"
_ZERO = "#eef0f3"


def probe_heatmap(
    results: pd.DataFrame,
    score: Score = "balanced_accuracy",
    control: str | None = "type alone",
    *,
    rows: Literal["label", "probe"] = "label",
    difference: bool = False,
    chosen: str | None = None,
) -> Layers:
    """Labels (or, of one label, estimators) × hooks, and the control's beside them on the same scale of colours.

    Both stand in the order in which they come. A cell that has no number has a cross, and says why.

    Args:
        results: tidy, as `workbench probe` makes it: `hook`, `variant`, `note`, the score with `_low` and `_high` where
            it has an interval, and one line of each row, hook and variant.
        score: which.
        control: the variant that stands beside the probe; None for none.
        rows: the column whose values are the rows.
        difference: the probe's score less the control's, on one scale about zero, instead of both.
        chosen: a row that is framed.

    Raises:
        ValueError: a column is missing, there are two lines of one cell, or a difference of nothing is asked for.
    """
    require_columns(results, ["hook", "variant", "note", rows, score], "probe_heatmap")
    if difference and control is None:
        raise ValueError("a difference needs a control: name the variant that the probe is held against.")
    if control is not None and control not in (known := results["variant"].unique().tolist()):
        raise ValueError(f"there is no control {control!r}: of these results there are {', '.join(known)}.")
    shown = results[results["variant"].isin([PROBE, control])]
    if shown.duplicated([rows, "hook", "variant"]).any():
        raise ValueError(f"probe_heatmap needs one line of every {rows}, hook and variant: choose among the others.")
    hooks, names = results["hook"].unique().tolist(), results[rows].unique().tolist()
    cells = _cells(shown, score, control, rows, hooks, names)
    if difference:
        cells = _less_control(cells, control or "")
    return _drawn(cells, score, hooks, names, rows, difference, chosen)


def _cells(
    shown: pd.DataFrame, score: Score, control: str | None, rows: str, hooks: list[str], names: list[str]
) -> pd.DataFrame:
    """A line a cell, those that nothing is known of too."""
    panels = [PROBE] if control is None else [PROBE, control]
    grid = pd.MultiIndex.from_product([panels, names, hooks], names=["variant", rows, "hook"])
    said = shown.assign(value=shown[score], why=reasons(shown, score), interval=interval(shown, score))
    keyed = said.set_index(["variant", rows, "hook"])[["value", "interval", "why"]]
    cells = keyed.reindex(grid).reset_index().rename(columns={rows: "row", "variant": "panel"})
    return cells.fillna({"why": "not probed here", "interval": ""})


def _less_control(cells: pd.DataFrame, control: str) -> pd.DataFrame:
    ours, theirs = (cells[cells["panel"] == panel].reset_index(drop=True) for panel in (PROBE, control))
    why = ours["why"].where(ours["value"].isna() | theirs["value"].notna(), theirs["why"])
    return ours.assign(value=ours["value"] - theirs["value"], why=why, interval="", panel=f"{PROBE} − {control}")


def _drawn(
    cells: pd.DataFrame,
    score: Score,
    hooks: list[str],
    names: list[str],
    rows: str,
    difference: bool,
    chosen: str | None,
) -> Layers:
    panels = cells["panel"].unique().tolist()
    short = _short(hooks)
    # Panels share one axis, a free column between them: such a chart, unlike two, is as wide as the page.
    columns = [f"{i} {name}" for i in range(len(panels)) for name in [*short.values(), ""]][:-1]
    cells = cells.assign(
        column=[f"{panels.index(p)} {short[h]}" for p, h in zip(cells["panel"], cells["hook"], strict=True)]
    )
    about_zero = difference or score == "selectivity"
    scale, cells = _coloured(cells, about_zero)
    x = alt.X(
        "column:N",
        title=None,
        scale=alt.Scale(domain=columns, paddingInner=0.05, paddingOuter=0),
        axis=alt.Axis(
            orient="top",
            offset=18,
            labelExpr="slice(datum.label, 2)",
            labelAngle=-45,
            labelLimit=_LABEL_LIMIT,
            labelOverlap=False,
            ticks=False,
            domain=False,
        ),
    )
    y = alt.Y(
        "row:N",
        title=None,
        scale=alt.Scale(domain=names, paddingInner=0.06),
        axis=alt.Axis(labelLimit=_LABEL_LIMIT, labelOverlap=False, labelFlush=False, ticks=False, domain=False),
    )
    tooltip = [
        alt.Tooltip("row:N", title=rows),
        alt.Tooltip("hook:N"),
        alt.Tooltip("panel:N", title="of"),
        alt.Tooltip("value:Q", title=SCORES[score], format="+.3f" if about_zero else ".3f"),
        alt.Tooltip("interval:N", title="95% interval"),
        alt.Tooltip("why:N", title="note"),
    ]
    full, empty = cells[cells["value"].notna()], cells[cells["value"].isna()]
    legend = alt.Legend(
        title=SCORES[score],
        orient="bottom",
        gradientLength=220,
        gradientThickness=10,
        format="+.2~f" if about_zero else ".2~f",
    )
    layers = [
        alt.Chart(full)
        .mark_rect()
        .encode(x=x, y=y, color=alt.Color("value:Q", scale=scale, legend=legend), tooltip=tooltip),
        # What is clear is still felt by the pointer.
        alt.Chart(empty).mark_rect(color="transparent").encode(x=x, y=y, tooltip=tooltip),
        alt.Chart(empty).mark_text(text="×", color=RULE, fontSize=11).encode(x=x, y=y, tooltip=tooltip),
        _titles(panels, columns, x),
    ]
    if len(columns) <= MOST_WITH_NUMBERS:
        layers.append(_numbers(full, x, y, tooltip, about_zero))
    if chosen in names:
        frame = alt.MarkDef(type="rect", fillOpacity=0, stroke=RULE, strokeWidth=1.5, tooltip=None)
        layers.append(alt.Chart(cells[cells["row"] == chosen], mark=frame).encode(x=x, y=y))
    return alt.layer(*layers).properties(height=alt.Step(_STEP))


def _coloured(cells: pd.DataFrame, about_zero: bool) -> tuple[alt.Scale, pd.DataFrame]:
    """The scale, and of each cell where on it its colour lies."""
    known = cells["value"].dropna().to_numpy(float)
    if about_zero:
        largest = max(float(np.abs(known).max(initial=0)), 1e-9)
        hues = [NEURONS, _ZERO, TRAINED]
        return alt.Scale(domain=[-largest, 0, largest], range=hues, interpolate="rgb"), cells.assign(shade=1.0)
    low, high = float(np.floor(known.min(initial=1) * 10) / 10), float(known.max(initial=1))
    shade = (cells["value"] - low) / max(high - low, 1e-9)
    return alt.Scale(domain=[low, high], scheme="viridis"), cells.assign(shade=shade)


def _titles(panels: list[str], columns: list[str], x: alt.X) -> alt.Chart:
    """Above the first column of each panel its name."""
    first = [next(column for column in columns if column.startswith(f"{i} ")) for i in range(len(panels))]
    return (
        alt.Chart(pd.DataFrame({"column": first, "panel": panels}))
        .mark_text(align="left", baseline="bottom", fontWeight="bold", color=RULE, tooltip=None)
        .encode(x=x.bandPosition(0), y=alt.value(-5), text=alt.Text("panel:N"))
    )


def _numbers(full: pd.DataFrame, x: alt.X, y: alt.Y, tooltip: list[alt.Tooltip], about_zero: bool) -> alt.Chart:
    return (
        alt.Chart(full)
        .mark_text(fontSize=9.5)
        .encode(
            x=x,
            y=y,
            text=alt.Text("value:Q", format="+.2f" if about_zero else ".2f"),
            color=alt.condition(alt.datum.shade > _LIGHT_FROM, alt.value(_DARK), alt.value(_LIGHT)),
            tooltip=tooltip,
        )
    )


def _short(hooks: list[str]) -> dict[str, str]:
    """Names without `hook_`, as recordings have them, where that leaves them apart."""
    short = {hook: hook.replace("hook_", "") for hook in hooks}
    return short if len(set(short.values())) == len(hooks) else {hook: hook for hook in hooks}
