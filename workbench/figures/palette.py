"""Colours that mean the same thing in every figure, after Okabe and Ito (2008): safe for the colour-blind.

Each is of middling lightness, so that it stands out from a white and from a near-black page alike.
"""

from typing import Any

import altair as alt
import pandas as pd

Layers = alt.LayerChart | alt.FacetChart  # what `alt.layer` gives

TRAINED = "#2f86c9"  # blue: the trained dictionary, its features, held-out data
NEURONS = "#d9662b"  # vermilion: single neurons
PCA = "#1a9e77"  # bluish green
RANDOM = "#8b929c"  # grey: what chance gives
RULE = "#8b929c"

DICTIONARIES = {"trained": TRAINED, "neurons": NEURONS, "PCA": PCA, "random": RANDOM}
# A probe and what stands beside it.
PROBE_VARIANTS = {
    "probe": TRAINED,
    "type alone": "#b0569b",
    "control task": "#d99a00",
    "random subject": RANDOM,
    "shuffled labels": "#a9713a",
    "majority": RULE,
}
# A decoder and what stands beside it.
DECODER_VARIANTS = {"decoder": TRAINED, "random subject": RANDOM, "shuffled": "#a9713a", "mean": "#d99a00"}
# Of names that mean nothing by themselves: decoders, categories.
CATEGORIES = [TRAINED, NEURONS, PCA, "#d99a00", "#b0569b", "#7560d0", "#3fb0cf", "#a9713a"]
# Of what is never negative, such as a rate: its ends stand out from a white page and from a near-black one.
SEQUENTIAL = alt.SchemeParams(name="viridis", extent=[0.12, 0.94])
ZERO = "#eef0f3"  # of signed colours
UNKNOWN = "rgba(139,146,156,0.28)"  # what was never seen: no colour of the scale, and no hole in the page
# A second sign beside the colour, for print and for those who see none.
SHAPES = {"trained": "circle", "neurons": "diamond", "PCA": "triangle-up", "random": "cross"}


def dictionary_colour(present: list[str], *, title: str | None = None) -> alt.Color:
    """The colour encoding of a column named `dictionary`, in the fixed order of `DICTIONARIES`."""
    names = [name for name in DICTIONARIES if name in present]
    scale = alt.Scale(domain=names, range=[DICTIONARIES[name] for name in names])
    return alt.Color("dictionary:N", scale=scale, title=title, sort=names)


def in_turn(signs: list[Any], n: int) -> list[Any]:
    """The first n signs, from the beginning again where there are more names than signs."""
    return [signs[i % len(signs)] for i in range(n)]


def require_columns(table: pd.DataFrame, columns: list[str], figure: str) -> None:
    """Raise `ValueError` if the table lacks a column that the figure reads."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"{figure} needs the columns {', '.join(columns)}: the table lacks {', '.join(missing)}.")
