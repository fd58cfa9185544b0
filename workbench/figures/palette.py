"""Colours that mean the same thing in every figure, after Okabe and Ito (2008): safe for the colour-blind.

Each is of middling lightness, so that it stands out from a white and from a near-black page alike.
"""

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
# A second sign beside the colour, for print and for those who see none.
SHAPES = {"trained": "circle", "neurons": "diamond", "PCA": "triangle-up", "random": "cross"}


def dictionary_colour(present: list[str], *, title: str | None = None) -> alt.Color:
    """The colour encoding of a column named `dictionary`, in the fixed order of `DICTIONARIES`."""
    names = [name for name in DICTIONARIES if name in present]
    scale = alt.Scale(domain=names, range=[DICTIONARIES[name] for name in names])
    return alt.Color("dictionary:N", scale=scale, title=title, sort=names)


def require_columns(table: pd.DataFrame, columns: list[str], figure: str) -> None:
    """Raise `ValueError` if the table lacks a column that the figure reads."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"{figure} needs the columns {', '.join(columns)}: the table lacks {', '.join(missing)}.")
