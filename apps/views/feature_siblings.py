"""On a feature's own page: the features of other dictionaries of its hook that are most like it."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from apps import place, serve
from apps.components.link_table import Cell, Column, link_table, opened
from apps.layout import download
from apps.place import Place
from apps.recordings import dictionaries_of
from apps.text import escape_markdown, number, shell
from models.artifacts import ArtifactError
from workbench.features.comparing.siblings import Other, siblings
from workbench.features.index.feature_index import FeatureIndex
from workbench.sae import SAE, load_sae

_KEY = "siblings"


def show(here: Place, index: FeatureIndex, feature: int) -> None:
    """Offer them, and look for them once that is opened."""
    with st.expander(
        "Siblings across widths", icon=":material/account_tree:", on_change="rerun", key="siblings_open"
    ) as panel:
        if panel.open:
            _siblings(here, index, feature)


def _siblings(here: Place, index: FeatureIndex, feature: int) -> None:
    try:
        own = serve.dictionary_of(here.run, index)
    except ArtifactError as error:
        st.caption(escape_markdown(str(error).replace("`", "")))
        return
    if not isinstance(own, SAE):
        st.caption("How much a head writes has no direction, and so no siblings by direction.")
        return
    others, links = _others(here, index, own)
    if not others:
        st.caption(
            f"No other dictionary of {index.hook_name} was trained on this subject, in this run or beside it: "
            f"{escape_markdown(f'workbench sae --run {shell(here.run.path)}')} trains one of another width."
        )
        return
    found = siblings(own.W_dec[feature], others, index, feature)
    columns = [
        Column("dictionary", "text"),
        Column("features"),
        Column("#"),
        Column("name", "text"),
        Column("cosine", "bar-number", "Of the decoder directions."),
        Column("random", help="The largest cosine that a random direction reaches there, in the 95th of a hundred."),
        Column("correlation", help="Of the two features' values, over all rows; where both were recorded on the same."),
    ]
    rows = [_row(line, links[line["dictionary"]]) for line in found.to_dict("records")]
    ids = range(len(rows))
    link_table(columns, rows, key=_KEY, ids=ids, on_open=partial(_follow, found, links))
    beyond = int((found.groupby("dictionary")["cosine"].max() > found.groupby("dictionary")["random"].max()).sum())
    st.caption(
        f"The three nearest of each of {len(others):,} dictionaries of {index.hook_name} and of this subject; in "
        f"{beyond:,} of them the nearest is nearer than a random direction comes."
    )
    download(found, "Download", f"siblings-{feature}")


def _others(here: Place, index: FeatureIndex, own: SAE) -> tuple[list[Other], dict[str, dict[str, Any] | None]]:
    """Every other dictionary of this hook and this subject below the root; and where each one's features are shown."""
    subject = here.run.find("model").id
    own_id = {a.id for a in here.run.artifacts() if a.kind == "sae" and a.id in index.manifest.inputs.values()}
    hook = own.cfg.hook_name_out or index.hook_name
    others: list[Other] = []
    links: dict[str, dict[str, Any] | None] = {}
    seen = set(own_id)
    runs = sorted(serve.runs().items(), key=lambda item: item[0] != here.run_name)  # this run's first
    for name, run in runs:
        if not any(a.kind == "model" and a.id == subject for a in run.artifacts()):
            continue
        for artifact, indexed in dictionaries_of(run, hook):
            if artifact.id in seen:
                continue
            seen.add(artifact.id)
            title = artifact.name if name == here.run_name else f"{name} · {artifact.name}"
            opened_index = serve.index(indexed) if indexed is not None else None
            others.append(Other(title, _directions(artifact.id, artifact.path), opened_index))
            links[title] = {"run": name, "index": indexed.name} if indexed is not None else None
    return others, links


@st.cache_resource(max_entries=16, show_spinner="Loading the other dictionaries …")
def _directions(artifact_id: str, _path: Any) -> Any:
    return load_sae(_path).W_dec.detach()


def _row(line: dict[str, Any], link: dict[str, Any] | None) -> list[Cell]:
    href = f"{place.FEATURES}?{urlencode(link | {'feature': line['feature']})}" if link else ""
    return [
        Cell(line["dictionary"]),
        Cell(f"{line['width']:,}"),
        Cell(str(line["feature"]), href=href),
        Cell(line["name"], href=href),
        Cell(number(line["cosine"]), bar=max(0.0, line["cosine"])),
        Cell(number(line["random"])),
        Cell(number(line["correlation"])),
    ]


def _follow(found: pd.DataFrame, links: dict[str, dict[str, Any] | None]) -> None:
    line = found.iloc[opened(_KEY)[0]]
    link = links[line["dictionary"]]
    if link is not None:
        st.session_state.update(link)  # the side bar's selectors, which would else lead back
        place.jump(place.FEATURES, **link, feature=int(line["feature"]))
