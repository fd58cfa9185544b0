"""How the error of decoders falls with the size of a population, or with time, and the bound below which none falls."""

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import CATEGORIES, RULE, Layers, in_turn, require_columns

BOUND = "Cramér–Rao bound"
_SHAPES = ["circle", "diamond", "triangle-up", "square", "cross", "triangle-down"]


def error_against_bound(
    errors: pd.DataFrame,
    *,
    slope: float | None = None,
    x_title: str = "neurons",
    y_title: str = "error",
    height: int = 320,
) -> Layers:
    """Both axes logarithmic: a line a decoder within its band over seeds, the bound dashed, a reference slope dotted.

    Args:
        errors: tidy: `n`, `error`, `low` and `high` (NaN where there is one seed), `decoder`, and where known `bound`.
        slope: of the reference line, which runs through the middle of the first decoder's; none where None.
        x_title: what `n` counts.
        y_title: what the error is.
        height: in pixels.

    Raises:
        ValueError: a column is missing, an error is not above zero, or some decoder has two lines of one n.
    """
    require_columns(errors, ["n", "error", "low", "high", "decoder"], "error_against_bound")
    if not (errors[["n", "error"]].to_numpy(float) > 0).all():
        raise ValueError("an error or its n is not above 0: a logarithmic axis has no place for it.")
    if errors.duplicated(["n", "decoder"]).any():
        raise ValueError("error_against_bound needs one line of every n and decoder: average the seeds first.")
    decoders = errors["decoder"].unique().tolist()
    table = errors[["n", "error", "low", "high", "decoder"]].copy()
    # A band that reaches zero has no place either: it ends where its decoder's least error is, tenfold lower.
    table["low"] = table["low"].clip(lower=float(errors["error"].min()) / 10)
    x = alt.X("n:Q", title=x_title, scale=alt.Scale(type="log", nice=False, padding=10), axis=_axis("~s"))
    levels = alt.Scale(type="log", nice=False, padding=14)
    y = alt.Y("error:Q", title=y_title, scale=levels, axis=_axis("~g"))
    legend = alt.Legend(orient="top", direction="horizontal", columns=4, symbolOpacity=1)
    colour = alt.Color(
        "decoder:N",
        title=None,
        sort=decoders,
        scale=alt.Scale(domain=decoders, range=in_turn(CATEGORIES, len(decoders))),
        legend=legend,
    )
    shape = alt.Shape(
        "decoder:N",
        title=None,
        sort=decoders,
        scale=alt.Scale(domain=decoders, range=in_turn(_SHAPES, len(decoders))),
        legend=legend,
    )
    tooltip = [
        alt.Tooltip("decoder:N"),
        alt.Tooltip("n:Q", title=x_title, format="~r"),
        alt.Tooltip("error:Q", format=".4~g"),
        alt.Tooltip("low:Q", format=".4~g", title="at least"),
        alt.Tooltip("high:Q", format=".4~g", title="at most"),
    ]
    base = alt.Chart(table)
    known = alt.Chart(table[table["low"].notna() & table["high"].notna()])
    return alt.layer(
        known.mark_area(opacity=0.18, tooltip=None).encode(
            x=x, y=alt.Y("low:Q", scale=levels), y2=alt.Y2("high:Q"), color=colour
        ),
        base.mark_line(strokeWidth=2, tooltip=None).encode(x=x, y=y, color=colour),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
        *_rules(errors, slope, x, y),
    ).properties(height=height)


def _axis(number: str) -> alt.Axis:
    return alt.Axis(format=number, tickCount=6, gridOpacity=0.4, labelOverlap="greedy")


def _rules(errors: pd.DataFrame, slope: float | None, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The bound and the reference slope, each with its name at its end."""
    lines = []
    if "bound" in errors and errors["bound"].gt(0).any():
        bound = errors.loc[errors["bound"].gt(0), ["n", "bound"]].drop_duplicates("n").sort_values("n")
        lines.append(bound.rename(columns={"bound": "error"}).assign(name=BOUND))
    if slope is not None:
        first = errors[errors["decoder"] == errors["decoder"].iloc[0]]
        ends = np.array([first["n"].min(), first["n"].max()], float)
        middle = np.exp(np.log(first["n"]).mean()), np.exp(np.log(first["error"]).mean())
        lines.append(
            pd.DataFrame({"n": ends, "error": middle[1] * (ends / middle[0]) ** slope, "name": f"slope {slope:g}"})
        )
    drawn = []
    for line in lines:
        dash = [6, 3] if line["name"].iloc[0] == BOUND else [1, 3]
        stroke = alt.Chart(line).mark_line(color=RULE, strokeDash=dash, strokeWidth=2)
        words = alt.Chart(line.tail(1)).mark_text(color=RULE, align="right", baseline="top", dy=5)
        drawn += [stroke.encode(x=x, y=y, tooltip=["name:N"]), words.encode(x=x, y=y, text="name:N")]
    return drawn
