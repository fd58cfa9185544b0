"""What a decoder reads off a population as time goes by, against what was so."""

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import NEURONS, RULE, TRAINED, Layers, require_columns

Z = 1.959964  # standard deviations to either side of 95% of a Gaussian
_NAMES = ["true", "decoded"]
_HUES = [NEURONS, TRAINED]


def decoded_trace(decoded: pd.DataFrame, *, period: float | None = None, title: str = "", height: int = 250) -> Layers:
    """True and decoded value over time, the decoder's 95% band behind; a line ends where the next bin does not follow.

    A circular value's lines and band end at one edge of its range and go on from the other.

    Args:
        decoded: of one decoder and output, in order: `doc`, `pos`, `true`, `decoded`, and `std`, NaN where the decoder
            gives none.
        period: of a circular output, whose range is [0, period), or [-period/2, period/2) if some value is negative.
        title: of the vertical axis.
        height: in pixels.

    Raises:
        ValueError: a column is missing, or there are several decoders or outputs.
    """
    require_columns(decoded, ["doc", "pos", "true", "decoded", "std"], "decoded_trace")
    for name in ("decoder", "output"):
        if name in decoded and len(decoded[name].unique()) > 1:
            raise ValueError(f"decoded_trace draws one {name} at a time, but the table has {decoded[name].nunique()}.")
    shown = decoded.assign(at=np.arange(len(decoded)), begins=_begins(decoded))
    ends = _range(shown, period) if period is not None else None
    y_scale = alt.Scale(domain=list(ends), nice=False) if ends else alt.Scale(zero=False, padding=4)
    x = alt.X("at:Q", title="held-out bins", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, format=",d"))
    y = alt.Y("value:Q", title=title or "value", scale=y_scale)
    lines = pd.concat([_line(shown, name, period) for name in _NAMES], ignore_index=True)
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolType="stroke")
    colour = alt.Color("of:N", scale=alt.Scale(domain=_NAMES, range=_HUES), sort=_NAMES, title=None, legend=legend)
    dash = alt.StrokeDash(
        "of:N", scale=alt.Scale(domain=_NAMES, range=[[1, 0], [5, 2]]), sort=_NAMES, title=None, legend=legend
    )
    tooltip = [
        alt.Tooltip("doc:Q", title="document", format="d"),
        alt.Tooltip("pos:Q", title="position", format="d"),
        alt.Tooltip("true:Q", format=".3f"),
        alt.Tooltip("decoded:Q", format=".3f"),
        alt.Tooltip("std:Q", format=".3f", title="standard deviation"),
    ]
    stroke = alt.Chart(lines).mark_line(strokeWidth=1.6, clip=True, tooltip=None)
    over = alt.Chart(shown).mark_point(opacity=0, size=60, filled=True)
    begins = shown[shown["begins"]].iloc[1:]
    between = alt.Chart(begins).mark_rule(color=RULE, strokeDash=[1, 3], xOffset=-1, tooltip=None)
    return alt.layer(
        between.encode(x=x),
        _band(shown, y, period, ends),
        stroke.encode(x=x, y=y, color=colour, strokeDash=dash, detail="piece:N"),
        over.encode(x=x, y=alt.Y("decoded:Q", scale=y_scale), tooltip=tooltip),
    ).properties(height=height)


def _range(shown: pd.DataFrame, period: float) -> tuple[float, float]:
    negative = (shown[["true", "decoded"]].to_numpy() < 0).any()
    return (-period / 2, period / 2) if negative else (0.0, period)


def _begins(decoded: pd.DataFrame) -> pd.Series:
    """Whether a bin does not follow the one before it."""
    return (decoded["doc"] != decoded["doc"].shift()) | (decoded["pos"] != decoded["pos"].shift() + 1)


def _line(shown: pd.DataFrame, name: str, period: float | None) -> pd.DataFrame:
    values = shown[name].to_numpy(float)
    begins = shown["begins"].to_numpy()
    if period is not None:
        begins = begins | (np.abs(np.diff(values, prepend=values[:1])) > period / 2)
    pieces = [f"{name} {number}" for number in np.cumsum(begins)]
    return pd.DataFrame({"at": shown["at"], "value": values, "of": name, "piece": pieces})


def _band(shown: pd.DataFrame, y: alt.Y, period: float | None, ends: tuple[float, float] | None) -> alt.Chart:
    known = shown[shown["std"].notna()]
    low, high = known["decoded"] - Z * known["std"], known["decoded"] + Z * known["std"]
    band = known[["at"]].assign(value=low, high=high, before=known["at"] - 0.5, after=known["at"] + 0.5)
    if period is not None and ends is not None:
        band = _wrapped(band, period, *ends)
    encoding = {"x": alt.X("before:Q", title="held-out bins", scale=alt.Scale(nice=False)), "x2": alt.X2("after:Q")}
    steps = alt.Chart(band).mark_rect(color=TRAINED, opacity=0.2, stroke=None, clip=True, tooltip=None)
    return steps.encode(y=y, y2=alt.Y2("high:Q"), **encoding)


def _wrapped(band: pd.DataFrame, period: float, least: float, most: float) -> pd.DataFrame:
    """What reaches past an edge comes in again at the other; what is as wide as the circle is all of it."""
    whole = band["high"] - band["value"] >= period
    band = band.assign(value=band["value"].mask(whole, least), high=band["high"].mask(whole, most))
    over, under = band[band["high"] > most], band[band["value"] < least]
    parts = [
        band.assign(value=band["value"].clip(least), high=band["high"].clip(upper=most)),
        over.assign(value=least, high=over["high"] - period),
        under.assign(value=under["value"] + period, high=most),
    ]
    return pd.concat(parts, ignore_index=True)
