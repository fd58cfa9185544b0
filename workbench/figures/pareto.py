"""What sparsity costs: explained variance and loss recovered against L0, for dictionaries beside their controls."""

from typing import Any

import altair as alt
import pandas as pd

from workbench.figures.palette import DICTIONARIES, RULE, SHAPES, Layers, require_columns

Panels = alt.HConcatChart | alt.VConcatChart

# Hues that none of the controls has, and shapes that neither have in common: topk's is the trained dictionary's.
ARCHITECTURES = {
    "topk": DICTIONARIES["trained"],
    "batchtopk": "#d99a00",
    "matryoshka_batchtopk": "#a9713a",
    "jumprelu": "#b0569b",
    "gated": "#7560d0",
    "standard": "#3fb0cf",
}
_ARCHITECTURE_SHAPES = {
    "topk": "circle",
    "batchtopk": "square",
    "matryoshka_batchtopk": "M0,-1.2L0.4,-0.4L1.2,0L0.4,0.4L0,1.2L-0.4,0.4L-1.2,0L-0.4,-0.4Z",
    "jumprelu": "triangle-down",
    "gated": "triangle-right",
    "standard": "triangle-left",
}
_PANELS = {"explained_variance": "explained variance", "loss_recovered_zero": "loss recovered (against zero)"}
_COLOURS = ARCHITECTURES | {name: colour for name, colour in DICTIONARIES.items() if name != "trained"}
_MARKS = _ARCHITECTURE_SHAPES | {name: shape for name, shape in SHAPES.items() if name != "trained"}


def pareto(results: pd.DataFrame, width: int = 320, height: int = 260) -> Panels:
    """A panel for each measure: a line for each architecture, width and seed, and dashed ones for the controls.

    The best lie up and to the left. A control of which no latent is active, such as a transcoder's best linear map, is
    a level line. What is below zero, worse than what a share is counted from, is left out. Each hook that was read has
    a row of panels.

    Args:
        results: tidy, one row a dictionary: `reads` (the hook), `dictionary` (`trained`, or the control's name),
            `architecture`, `d_sae`, `seed`, `l0`, `explained_variance` and, where it was measured,
            `loss_recovered_zero`.
        width: of a panel, in pixels.
        height: of a panel, in pixels.
    """
    columns = ["reads", "dictionary", "architecture", "d_sae", "seed", "l0", "explained_variance"]
    require_columns(results, columns, "pareto")
    trained = results["dictionary"] == "trained"
    shown = results.assign(series=results["architecture"].where(trained, results["dictionary"]))
    measured = [name for name in _PANELS if name in results and results[name].notna().any()]
    rows = [
        alt.hconcat(*(_panel(group, name, width, height) for name in measured)).properties(title=str(hook))
        for hook, group in shown.groupby("reads", sort=False)
    ]
    return rows[0] if len(rows) == 1 else alt.vconcat(*rows)


def _panel(group: pd.DataFrame, value: str, width: int, height: int) -> Layers:
    """One measure of what reads one hook."""
    columns = ["dictionary", "series", "d_sae", "seed", "l0", value]
    shown = group.loc[group[value] >= 0, columns]
    dense, sparse = shown[shown["l0"] == 0], shown[shown["l0"] > 0]
    trained = sparse[sparse["dictionary"] == "trained"]
    # One control stands beside several dictionaries.
    controls = sparse[sparse["dictionary"] != "trained"].drop_duplicates(["series", "d_sae", "l0", value])
    present = [name for name in _COLOURS if name in set(sparse["series"])]
    legend = alt.Legend(orient="right", symbolStrokeWidth=0)
    y = alt.Y(f"{value}:Q", title=_PANELS[value], scale=alt.Scale(zero=False, padding=8), axis=alt.Axis(tickCount=6))
    encoding: dict[str, Any] = {
        "x": alt.X(
            "l0:Q",
            title="active latents a row (L0)",
            scale=alt.Scale(type="log", base=2, nice=False, padding=12),
            axis=alt.Axis(format="~r", tickCount=5, grid=False),
        ),
        "y": y,
        "color": alt.Color(
            "series:N",
            title=None,
            sort=present,
            scale=alt.Scale(domain=present, range=[_COLOURS[name] for name in present]),
            legend=legend,
        ),
        "detail": ["d_sae:N", "seed:N"],
    }
    tooltip = [
        alt.Tooltip("series:N", title="dictionary"),
        alt.Tooltip("d_sae:Q", format=",", title="latents"),
        alt.Tooltip("seed:Q", format="d"),
        alt.Tooltip("l0:Q", format=".1f", title="L0"),
        alt.Tooltip(f"{value}:Q", format=".3f", title=_PANELS[value]),
    ]
    marks: dict[str, Any] = {
        "tooltip": tooltip,
        "shape": alt.Shape(
            "series:N",
            title=None,
            sort=present,
            scale=alt.Scale(domain=present, range=[_MARKS[name] for name in present]),
            legend=legend,
        ),
    }
    sizes = {}
    if len(widths := sorted(trained["d_sae"].unique().tolist())) > 1:
        smallest, largest = 40, 130
        scale = alt.Scale(domain=widths, rangeMin=smallest, rangeMax=largest)
        sizes["size"] = alt.Size("d_sae:O", title="latents", scale=scale, legend=alt.Legend(symbolFillColor=RULE))
    return alt.layer(
        alt.Chart(controls).mark_line(strokeWidth=1.5, strokeDash=[4, 3]).encode(**encoding),
        alt.Chart(controls).mark_point(filled=True, size=45, opacity=1).encode(**encoding, **marks),
        alt.Chart(trained).mark_line(strokeWidth=1.5, opacity=0.7).encode(**encoding),
        alt.Chart(trained).mark_point(filled=True, size=70, opacity=1).encode(**encoding, **marks, **sizes),
        *_level_lines(dense, y, tooltip),
    ).properties(width=width, height=height)


def _level_lines(dense: pd.DataFrame, y: alt.Y, tooltip: list[alt.Tooltip]) -> list[alt.Chart]:
    base = alt.Chart(dense.drop_duplicates("series"))
    return [
        base.mark_rule(color=RULE, strokeDash=[2, 3]).encode(y=y, tooltip=tooltip),
        base.mark_text(color=RULE, align="left", dx=4, dy=-6).encode(y=y, x=alt.value(0), text=alt.Text("series:N")),
    ]
