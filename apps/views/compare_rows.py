"""Two sets of recorded rows: which features tell them apart, on documents that took no part in choosing them."""

from typing import Any

import numpy as np
import streamlit as st

from apps import place, serve
from apps.choices import segments, select
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table, opened, signed_cell
from apps.messages import no_index, plain
from apps.place import Place
from apps.recordings import recording_of
from apps.shown import draw
from apps.text import escape_markdown, number, percent, signed
from apps.told import Told, read
from models.artifacts import ArtifactError
from workbench.activations import ActivationStore
from workbench.features.comparing.contrast import Contrast, beside_shuffled, contrast, rows_where
from workbench.features.comparing.label_sets import Value, labels_with_values, question, values_of
from workbench.features.index.feature_index import FeatureIndex
from workbench.figures import agreement

_KEY = "contrast"
_BY_LABEL, _BY_QUERY, _BY_DOCUMENT = "By a label", "By a question to the labels", "Two documents"
_OTHERS = "all other rows"
_SHOWN = 30
_EXAMPLE = "split == 'test' and pos < 20"


def show(here: Place) -> None:
    """Draw it."""
    if here.index is None:
        no_index(here.run)
        return
    index = serve.index(here.index)
    usual = _BY_QUERY if st.query_params.get("first") else _BY_LABEL  # a link may hold a question alone
    try:
        labels = _labels(index.id, recording_of(here.run, index))
        ways = {_BY_LABEL: _labelled, _BY_QUERY: _questions, _BY_DOCUMENT: _documents}
        if not labels:
            del ways[_BY_LABEL]
            usual = _BY_QUERY
        asked = ways[segments("Sets of rows", list(ways), "sets", default=usual)](here, index)
        if asked is None:
            return
        found = _contrast(index.id, asked, index, here)
    except (ValueError, ArtifactError) as error:
        plain(ValueError(str(error)))
        return
    _show(here, index, _told(here, index, asked, found))


def _labelled(here: Place, index: FeatureIndex) -> tuple[str, ...]:
    """Two values of one label, or one of them and all other rows."""
    store = recording_of(here.run, index)
    labels = _labels(index.id, store)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        named = {label.replace("_", " "): label for label in labels}
        label = named[select("Label", list(named), next(iter(named)), "row_label")]
        values = {str(value): value for value in _values(index.id, label, store)}
        first = select("First set: rows where it is", list(values), next(iter(values)), "row_value")
        others = [_OTHERS, *(name for name in values if name != first)]
        second = select("Second set", others, _OTHERS, "row_other")
    return (question(label, values[first]), "" if second == _OTHERS else question(label, values[second]))


@st.cache_data(max_entries=8, show_spinner=False)
def _labels(index_id: str, _store: ActivationStore) -> list[str]:
    return labels_with_values(_store)


@st.cache_data(max_entries=64, show_spinner=False)
def _values(index_id: str, label: str, _store: ActivationStore) -> list[Value]:
    found = values_of(_store, label)
    if not found:
        raise ValueError(f"the label {label} is missing at every row: choose another.")
    return found


def _questions(here: Place, index: FeatureIndex) -> tuple[str, ...] | None:
    names = recording_of(here.run, index).column_names
    left, right = st.columns(2)
    settings: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}
    with left:
        first = st.text_input("First set: rows where", key="first", placeholder=_EXAMPLE, **settings)
    with right:
        second = st.text_input("Second set: rows where", key="second", placeholder="empty: all other rows", **settings)
    with st.expander("What can be asked", icon=":material/help:"):
        st.markdown(
            "Comparisons of a column with a number, a text in quotes, `True` or `False`, by `==`, `!=`, `<`, `<=`, "
            "`>`, `>=` or `in (…)`, joined by `and`, `or`, `not` and brackets. Nothing else is understood, and "
            "nothing is run."
        )
        st.caption(escape_markdown("Columns: " + ", ".join(names)))
    if not (first or "").strip():
        st.caption("Say which rows the first set is of; the second is all others where it is left empty.")
        return None
    return (first, second or "")


def _documents(here: Place, index: FeatureIndex) -> tuple[str, ...] | None:
    known = index.documents[index.documents["rows"] > 0]
    names = known.sort_values("rows", ascending=False)["name"].astype(str).tolist()
    if len(names) < 2:
        st.caption("The recording is of one document: there is no other to hold it against.")
        return None
    left, right = st.columns(2)
    chosen = []
    for pane, key, label, at in ((left, "doc_a", "First document", 0), (right, "doc_b", "Second document", 1)):
        if st.session_state.get(key) not in (None, *names):
            del st.session_state[key]
        with pane:
            chosen.append(st.selectbox(label, names, index=at, key=key, bind="query-params", persist_state="session"))
    return ("", *chosen)


@st.cache_data(max_entries=16, show_spinner="Asking every feature …")
def _contrast(index_id: str, asked: tuple[str, ...], _index: FeatureIndex, _here: Place) -> Contrast:
    if asked[0]:
        first, second = rows_where(_index, recording_of(_here.run, _index), asked[0], asked[1])
    else:
        doc = _index.rows["doc"]
        first, second = (np.flatnonzero(doc == number) for number in _numbers(_index, asked[1:]))
    return contrast(_index, first, second)


def _numbers(index: FeatureIndex, names: tuple[str, ...]) -> list[int]:
    """Of documents."""
    number_of = {str(name): i for i, name in enumerate(index.documents["name"])}
    return [number_of[name] for name in names]


def _told(here: Place, index: FeatureIndex, asked: tuple[str, ...], found: Contrast) -> Told:
    """How the comparison is made again."""
    assert here.index is not None
    begun = read(here.run, here.index, "index", FeatureIndex.open, index)
    needed = {"from workbench.features.comparing.contrast import contrast"}
    if asked[0]:
        recording = here.run.made_from(index, "activations")
        store = read(here.run, recording, "store", ActivationStore.open, None)
        needed |= {*store.imports, "from workbench.features.comparing.contrast import rows_where"}
        lines = [*begun.lines, *store.lines, f"sets = rows_where(index, store, {asked[0]!r}, {asked[1]!r})"]
    else:
        numbers = _numbers(index, asked[1:])
        needed |= {"import numpy as np"}
        lines = [*begun.lines, f"sets = [np.flatnonzero(index.rows['doc'] == doc) for doc in {numbers}]"]
    told = Told(found, "contrast(index, *sets)", begun.imports | needed, tuple(dict.fromkeys(lines)))
    return told.named("found")


def _show(here: Place, index: FeatureIndex, told: Told) -> None:
    found: Contrast = told.value
    table = found.table
    beyond = int((np.abs(table["auroc"] - 0.5) > found.bar).sum())
    facts(
        [
            Fact("First set", f"{found.n_first:,}", "held-out rows"),
            Fact("Second set", f"{found.n_second:,}", "held-out rows"),
            Fact("Best feature's AUROC", number(float(table["auroc"].iloc[0]), 3), "held out", hue="trained"),
            Fact(
                "By chance",
                f"{number(0.5 - found.bar, 3)} … {number(0.5 + found.bar, 3)}",
                f"{len(found.chance)} shuffles",
                help="How far from one half the feature lies that is chosen by labels shuffled a stretch at a time.",
            ),
            Fact("Beyond chance", f"{beyond:,}", f"of {len(table):,} features"),
        ],
        key="contrast_facts",
    )
    columns = [
        Column("#"),
        Column("name", "text"),
        Column(
            "AUROC", "bar-number", "Held out: how often a row of the first set has more of it than one of the second."
        ),
        Column(
            "where chosen", help=f"The AUROC on the other half of the {found.groups}, by which features are ranked."
        ),
        Column("shuffled", help="Its AUROC, held out, with shuffled labels."),
        Column("first set", help="The share of the first set's rows on which it fires."),
        Column("second set", help="The share of the second set's rows on which it fires."),
        Column("difference", "bar-number", "Of the two shares, in percentage points."),
    ]
    part = table.head(_SHOWN)
    widest = float(part["difference"].abs().max())
    rows = [_row(here, line, widest) for line in part.to_dict("records")]
    link_table(columns, rows, key=_KEY, ids=part["feature"].tolist(), on_open=_follow)
    st.caption(
        f"Shows {len(part):,} of {len(table):,} features that fire on either set, those that tell them apart "
        f"best on half of the {found.groups} first; all numbers but that one are of the other half. Bars of AUROC: "
        "twice the distance from one half. Blue where the first set has more of it, vermilion where it has less."
    )
    st.subheader("Whether what was chosen holds elsewhere", anchor=False)
    pairs = told.at("table").into(beside_shuffled).named("pairs")
    chart = pairs.into(
        agreement,
        "fit_auroc",
        "auroc",
        x_title=f"AUROC where chosen, half of the {found.groups}",
        y_title="AUROC held out",
        control="shuffled labels",
    )
    words = "AUROC of every feature where features are chosen and on the other half, beside shuffled labels"
    draw(chart, told.at("table"), name="contrast", alt=words)
    st.caption("A point a feature; on the dashed line it tells the sets apart as well on rows that did not choose it.")


def _row(here: Place, line: dict[str, Any], widest: float) -> list[Cell]:
    href = here.href(place.FEATURES, feature=line["feature"])
    return [
        Cell(str(line["feature"]), href=href),
        Cell(line["name"], href=href),
        signed_cell(number(line["auroc"], 3), line["auroc"] - 0.5, 0.5),
        Cell(number(line["fit_auroc"], 3)),
        Cell(number(line["shuffled"], 3)),
        Cell(percent(line["first_rate"])),
        Cell(percent(line["second_rate"])),
        signed_cell(signed(100 * line["difference"], 2), line["difference"], widest),
    ]


def _follow() -> None:
    place.jump(place.FEATURES, feature=opened(_KEY)[0])
