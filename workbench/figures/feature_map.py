"""A dictionary's features laid out in the plane by their directions, beside as many random directions."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from workbench.figures.palette import NEURONS, PCA, RANDOM, SEQUENTIAL, TRAINED, Layers, require_columns

COLOURS = ("F1", "gain", "density", "kind")
KINDS = {"token": "token set", "syntax": "syntax", "none": "no name"}
_HUES, _SHAPES = [TRAINED, PCA, RANDOM], ["circle", "triangle-up", "cross"]
DICTIONARY = "dictionary"
PICK = "pick"  # the selection of a click
# The dictionary has a square of side 1 about the origin; random directions half of it, to its right.
_SMALL, _RIGHT = 0.5, 0.82
_LEFT_EDGE, _RIGHT_EDGE, _TOP, _BOTTOM = -0.52, 1.09, 0.6, -0.52
# Both axes have one unit, however wide the page is: what is as far is as far in every direction.
_UNIT = f"min(width / {_RIGHT_EDGE - _LEFT_EDGE}, height / {_TOP - _BOTTOM})"


def feature_map(
    points: pd.DataFrame,
    features: pd.DataFrame,
    colour: str = "F1",
    listed: Sequence[int] | None = None,
    height: int = 560,
) -> Layers:
    """The map of the features, coloured by a column of theirs; on its right, small and grey, that of random directions.

    Over each stands how many of the nearest neighbours the map keeps: a map of the dictionary is worth as much as it
    keeps more than one of noise does. A click on a feature is the selection `pick`.

    Args:
        points: columns variant, feature, x, y and kept, as `workbench.features.on_demand.feature_map` gives them.
        features: what is known of each: columns feature, name, kind, f1, neuron_f1, density.
        colour: one of `COLOURS`.
        listed: these features are coloured, and the others grey; all are by default.
        height: in pixels.

    Raises:
        ValueError: a column is missing, or there is no such colour.
    """
    require_columns(points, ["variant", "feature", "x", "y", "kept"], "feature_map")
    require_columns(features, ["feature", "name", "kind", "f1", "neuron_f1", "density"], "feature_map")
    if colour not in COLOURS:
        raise ValueError(f"a map of features has no colour {colour!r}: there are {', '.join(COLOURS)}.")
    own = points["variant"] == DICTIONARY
    known = features[["feature", "name", "kind", "f1", "neuron_f1", "density"]]
    drawn = points[own].drop(columns="variant").merge(known, on="feature")
    drawn["gain"] = drawn["f1"] - drawn["neuron_f1"]
    drawn["kind"] = drawn["kind"].map(KINDS)
    shown = np.ones(len(drawn), bool) if listed is None else drawn["feature"].isin(listed).to_numpy()
    noise = points.loc[~own, ["x", "y"]] * _SMALL + np.array([_RIGHT, 0.0])
    size, small = (float(np.clip(26_000 / max(1, n), 7, 60)) for n in (shown.sum(), len(drawn)))
    pick = alt.selection_point(name=PICK, fields=["feature"], on="click", empty=False)
    marks = (
        alt.Chart(drawn[shown].drop(columns="neuron_f1"))
        .mark_point(filled=True, size=size, opacity=0.85)
        .encode(_x("x"), _y("y"), **_coloured(colour, drawn), tooltip=_note())
        .add_params(pick)
    )
    faint: dict[str, Any] = {"filled": True, "color": RANDOM, "shape": "circle"}
    others = (
        alt.Chart(drawn.loc[~shown, ["feature", "name", "x", "y"]])
        .mark_point(size=small / 2, opacity=0.3, **faint)
        .encode(_x("x"), _y("y"), tooltip=[alt.Tooltip("feature:Q"), alt.Tooltip("name:N")])
    )
    control = alt.Chart(noise).mark_point(size=small / 4, opacity=0.55, **faint).encode(_x("x"), _y("y"))
    return alt.layer(control, others, marks, _titles(points)).properties(height=height)


def _x(name: str) -> alt.X:
    return alt.X(f"{name}:Q", axis=None, scale=_scale(_LEFT_EDGE, _RIGHT_EDGE, "width"))


def _y(name: str) -> alt.Y:
    return alt.Y(f"{name}:Q", axis=None, scale=_scale(_BOTTOM, _TOP, "height"))


def _scale(low: float, high: float, side: str) -> alt.Scale:
    middle, half = (low + high) / 2, f"{side} / (2 * {_UNIT})"
    return alt.Scale(
        domainMin=alt.ExprRef(f"{middle} - {half}"),
        domainMax=alt.ExprRef(f"{middle} + {half}"),
        nice=False,
        zero=False,
    )


def _coloured(colour: str, drawn: pd.DataFrame) -> dict[str, Any]:
    legend = alt.Legend(orient="top", titleOrient="left", offset=4)
    if colour == "kind":
        names = list(KINDS.values())
        return {
            "color": alt.Color("kind:N", legend=legend, title="named by", scale=alt.Scale(domain=names, range=_HUES)),
            "shape": alt.Shape("kind:N", legend=legend, title="named by", scale=alt.Scale(domain=names, range=_SHAPES)),
        }
    if colour == "gain":
        most = float(drawn["gain"].abs().max())
        most = most if most > 0 else 1.0
        scale = alt.Scale(domain=[-most, 0, most], range=[NEURONS, RANDOM, TRAINED], interpolate="rgb")
        return {"color": alt.Color("gain:Q", legend=legend, title="F1 above the best neuron's", scale=scale)}
    if colour == "density":
        scale = alt.Scale(type="log", scheme=SEQUENTIAL)
        legend.format, legend.tickCount = "~%", 4
        return {"color": alt.Color("density:Q", legend=legend, title="share of tokens", scale=scale)}
    return {"color": alt.Color("f1:Q", legend=legend, title="F1", scale=alt.Scale(domain=[0, 1], scheme=SEQUENTIAL))}


def _note() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("feature:Q"),
        alt.Tooltip("name:N"),
        alt.Tooltip("f1:Q", format=".2f", title="F1"),
        alt.Tooltip("gain:Q", format="+.2f"),
        alt.Tooltip("density:Q", format=".3%", title="fires on"),
        alt.Tooltip("kept:Q", format=".0%", title="neighbours kept"),
    ]


def _titles(points: pd.DataFrame) -> alt.Chart:
    rows = []
    for variant, part in points.groupby("variant", sort=False):
        of_it = variant == DICTIONARY
        n = min(10, len(part) - 1)
        words = f"{variant} · {part['kept'].mean():.0%} of the {n} nearest kept"
        scale, right = (1.0, 0.0) if of_it else (_SMALL, _RIGHT)
        rows.append({"x": right, "y": scale * part["y"].max() + 0.03, "words": words})
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_text(baseline="bottom", fontSize=12, color=RANDOM)
        .encode(_x("x"), _y("y"), text="words:N")
    )
