"""Where a decoder says that somebody was, in the arena; and any one output decoded against true."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import NEURONS, RULE, TRAINED, Layers, require_columns

_NAMES, _HUES = ["true", "decoded"], [NEURONS, TRAINED]
_TWO = ["doc", "pos", "output", "true", "decoded"]


def decoded_path(decoded: pd.DataFrame, outputs: tuple[str, str] = ("x", "y"), size: int = 340) -> Layers:
    """The true path and the decoded one in the plane of two outputs, a thin line between places of the same bin.

    Args:
        decoded: of one decoder: `doc`, `pos`, `output`, `true` and `decoded`, the bins of all outputs in one order.
        outputs: what is drawn to the right and upwards.
        size: width and height, in pixels: a unit is as long one way as the other.

    Raises:
        ValueError: a column is missing, an output is not there, or the outputs are not of the same bins.
    """
    require_columns(decoded, _TWO, "decoded_path")
    known = decoded["output"].unique().tolist()
    if missing := [name for name in outputs if name not in known]:
        raise ValueError(f"there is no output {missing[0]!r}: there are {', '.join(map(str, known))}.")
    right, up = (decoded[decoded["output"] == name].reset_index(drop=True) for name in outputs)
    if len(right) != len(up) or not (right[["doc", "pos"]] == up[["doc", "pos"]]).all(axis=None):
        raise ValueError("decoded_path needs the same bins of both outputs, in one order: choose a decoder.")
    bins = right[["doc", "pos"]].assign(
        **{f"{name}_{axis}": of[name] for name in _NAMES for axis, of in (("x", right), ("y", up))}
    )
    new = (bins["doc"] != bins["doc"].shift()) | (bins["pos"] != bins["pos"].shift() + 1)
    bins = bins.assign(at=np.arange(len(bins)), piece=new.cumsum())
    scales = _equal(bins)
    paths = pd.concat(
        [
            bins[["doc", "pos", "at", "piece"]].assign(x=bins[f"{name}_x"], y=bins[f"{name}_y"], of=name)
            for name in _NAMES
        ]
    )
    x = alt.X("x:Q", title=str(outputs[0]), scale=scales[0], axis=alt.Axis(grid=False, tickCount=5))
    y = alt.Y("y:Q", title=str(outputs[1]), scale=scales[1], axis=alt.Axis(grid=False, tickCount=5))
    both: dict[str, Any] = {"x": x, "y": y, "color": _colour()}
    tooltip = [
        alt.Tooltip("of:N", title=" "),
        alt.Tooltip("x:Q", format=".3f", title="to the right"),
        alt.Tooltip("y:Q", format=".3f", title="upwards"),
        alt.Tooltip("doc:Q", format="d", title="document"),
        alt.Tooltip("pos:Q", format="d", title="position"),
    ]
    between = alt.Chart(bins).mark_rule(color=RULE, strokeWidth=0.7, opacity=0.7, tooltip=None)
    path = alt.Chart(paths)
    return alt.layer(
        between.encode(
            x=alt.X("true_x:Q", scale=scales[0]),
            x2=alt.X2("decoded_x:Q"),
            y=alt.Y("true_y:Q", scale=scales[1]),
            y2=alt.Y2("decoded_y:Q"),
        ),
        path.mark_line(strokeWidth=1.5, tooltip=None).encode(order="at:Q", detail="piece:N", **both),
        path.mark_point(filled=True, size=16, opacity=0.9).encode(tooltip=tooltip, shape=_shape(), **both),
    ).properties(width=size, height=size)


def decoded_scatter(decoded: pd.DataFrame, *, title: str = "", size: int = 240) -> Layers:
    """Decoded against true, a point a bin; on the diagonal they are equal.

    Args:
        decoded: of one decoder and output: `true` and `decoded`.
        title: what the output is called.
        size: width and height, in pixels.
    """
    require_columns(decoded, ["true", "decoded"], "decoded_scatter")
    both = decoded[_NAMES].to_numpy(float)
    low, high = (float(np.nanmin(both)), float(np.nanmax(both))) if np.isfinite(both).any() else (0.0, 1.0)
    scale = alt.Scale(domain=[low, high], nice=True, zero=False)
    axis = alt.Axis(grid=False, tickCount=5)
    x = alt.X("true:Q", title=f"{title} true".strip(), scale=scale, axis=axis)
    y = alt.Y("decoded:Q", title=f"{title} decoded".strip(), scale=scale, axis=axis)
    equal = pd.DataFrame({"true": [low, high], "decoded": [low, high]})
    tooltip = [alt.Tooltip("true:Q", format=".3f"), alt.Tooltip("decoded:Q", format=".3f")]
    return alt.layer(
        alt.Chart(equal).mark_line(color=RULE, strokeDash=[3, 3], strokeWidth=1, tooltip=None).encode(x=x, y=y),
        alt.Chart(decoded[_NAMES])
        .mark_point(filled=True, size=14, color=TRAINED, opacity=0.45)
        .encode(x=x, y=y, tooltip=tooltip),
    ).properties(width=size, height=size)


def _equal(bins: pd.DataFrame) -> list[alt.Scale]:
    """Scales of the two axes that are as long."""
    ends = [
        (bins[[f"true_{a}", f"decoded_{a}"]].min().min(), bins[[f"true_{a}", f"decoded_{a}"]].max().max()) for a in "xy"
    ]
    half = max(max(high - low for low, high in ends) * 0.52, 1e-9)
    return [
        alt.Scale(domain=[(low + high) / 2 - half, (low + high) / 2 + half], nice=False, zero=False)
        for low, high in ends
    ]


def _colour() -> alt.Color:
    legend = alt.Legend(orient="top", direction="horizontal", title=None)
    return alt.Color("of:N", scale=alt.Scale(domain=_NAMES, range=_HUES), sort=_NAMES, title=None, legend=legend)


def _shape() -> alt.Shape:
    legend = alt.Legend(orient="top", direction="horizontal", title=None)
    scale = alt.Scale(domain=_NAMES, range=["circle", "diamond"])
    return alt.Shape("of:N", scale=scale, sort=_NAMES, title=None, legend=legend)
