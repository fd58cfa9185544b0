"""The map of a dictionary's features: their directions in the plane, beside as many random ones."""

from pathlib import Path

import pandas as pd
import streamlit as st

from apps import place
from apps import shown as figures
from apps.choices import select
from apps.feature_list import Listed, listed_by_filters
from apps.messages import plain, trouble
from apps.place import Place
from apps.text import shell
from apps.told import Told, call, read
from models.artifacts import ArtifactError, Manifest
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.on_demand.feature_map import read_feature_map
from workbench.features.on_demand.feature_map_kept import keep_map, kept_map, mapped_dictionary
from workbench.figures import feature_map
from workbench.figures.feature_map import COLOURS, PICK
from workbench.runs import Artifact

_MAP = "feature_map"


def choose_colour() -> str:
    """Draw the choice of what the map is coloured by."""
    return select("Coloured by", list(COLOURS), COLOURS[0], "map_colour")


def show(here: Place, index: FeatureIndex, found: Listed, colour: str) -> None:
    """Draw the map, or offer to make it."""
    assert here.index is not None
    path = kept_map(here.run, here.index)
    if path is None:
        path = _make(here, here.index, int((~found.table["dead"].astype(bool)).sum()))
    if path is None:
        return
    points = _points(Manifest.read(path).id, path)
    listed = found.rows["feature"].tolist()
    # All that a map shows are live: where nothing more is asked, nothing is to be greyed.
    greyed = None if set(points["feature"]) <= set(listed) else sorted(listed)
    told = _told(here, index, path, found, colour, greyed)
    st.altair_chart(
        told.value, width="stretch", key=_MAP, on_select=_open, alt=f"Map of the features, coloured by {colour}"
    )
    shown = points[["variant", "feature", "x", "y", "kept"]].merge(
        found.table[["feature", "name", "kind", "f1", "neuron_f1", "density"]], on="feature"
    )
    figures.taken_along(told.value, shown, name="feature-map", python=told.python("chart"))
    n, own = len(found.table), points["variant"] == "dictionary"
    left_out = n - int(own.sum())
    st.caption(
        f"t-SNE of the decoder's directions by their cosines: {int(own.sum()):,} of {n:,} features"
        + (f", the {left_out:,} dead ones left out" if left_out else "")
        + ". What lies close together is alike; how far apart islands lie, and how large they are, means little. Small "
        "and grey, the same of random directions: a map that keeps no more neighbours than that one shows nothing. "
        "Features that the filters leave out are grey. A click opens a feature."
    )


def _make(here: Place, index: Artifact, live: int) -> Path | None:
    """Offer the map, and make it where it is wanted; the folder once it is there."""
    try:
        mapped_dictionary(here.run, index)
    except ArtifactError as error:
        trouble(error)
        return None
    st.info("The map of these features was not made yet.", icon=":material/map:")
    st.caption(
        f"The directions of {live:,} live features, and as many random ones, are laid out one after the other: about "
        f"{_about(live)} on one processor. It is kept beside the index, or in your cache where the run may only be "
        f"read. On a command line the same is:"
    )
    st.code(
        f"workbench index --run {shell(here.run.path)} --sae {mapped_dictionary(here.run, index).name} --map", "shell"
    )
    if not st.button("Make the map", type="primary", icon=":material/map:"):
        return None
    try:
        with st.status("Making the map …", expanded=True) as status:
            path = keep_map(here.run, index, say=lambda words: st.write(words))
            status.update(label="The map is made.", state="complete", expanded=False)
    except (ValueError, ArtifactError) as error:
        plain(ValueError(str(error)))
        return None
    st.rerun()
    return path


def _about(live: int) -> str:
    """How long the two layouts take, roughly: t-SNE's time grows a little faster than the number of points."""
    seconds = 2 * 6e-3 * live * max(1.0, (live / 2000) ** 0.1)
    return "a minute" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _told(
    here: Place,
    index: FeatureIndex,
    path: Path,
    found: Listed,
    colour: str,
    greyed: list[int] | None,
) -> Told:
    """The map: what is listed by its filters, where they are all there is to say of it."""
    assert here.index is not None
    kept = read(here.run, here.index, "index", FeatureIndex.open, index)
    points = call(read_feature_map, str(path)).named("points")
    listed: Told | list[int] | None = greyed
    if greyed is not None and found.by_filters_alone:
        listed = listed_by_filters(kept, found).item("feature").do("tolist")
    return call(feature_map, points, kept.at("table"), colour, listed)


def _open() -> None:
    picked = st.session_state[_MAP].selection.get(PICK) or []
    if picked:
        place.show_feature(int(picked[0]["feature"]))


@st.cache_data(max_entries=8, show_spinner=False)
def _points(map_id: str, _path: Path) -> pd.DataFrame:
    return read_feature_map(_path)
