"""The list of features, as its page and a feature's own page share it: what passes, and in which order."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import streamlit as st

from apps import serve
from apps.messages import plain
from apps.notes_list import kept, noted_filter, with_notes, written_as_text
from apps.place import Place
from apps.told import Told, call
from models.artifacts import ArtifactError
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.query.filters import Filters
from workbench.features.query.table import FeatureTable

KINDS = ("token", "syntax", "none")
AT_LEAST = (
    "The lower end of the 95% interval of F1, with every token counted as independent. Those of one document are not: "
    "the truth may lie lower."
)
SUPPORT = "Held-out tokens that the name is true on."
KIND_WORDS = {"token": "token set", "syntax": "syntax", "none": "no name"}


@dataclass(frozen=True)
class Listed:
    """What is listed.

    Attributes:
        table: the features to choose from, with what people wrote about them.
        filters: what was asked.
        matches: the features that fire on a text that was given, as `FeatureTable.matching_text` tells of them.
        noted: what people are to have written about them, as `notes_list.kept` takes it.
        rows: the features that pass, in order.
    """

    query: FeatureTable
    table: pd.DataFrame
    filters: Filters
    matches: pd.DataFrame | None
    noted: str
    rows: pd.DataFrame

    @property
    def matched_by(self) -> str:
        """What the column `match` says, as `FeatureTable.matched_by` does."""
        return self.query.matched_by(self.filters, self.matches)

    @property
    def written(self) -> pd.DataFrame:
        """What people wrote, of the features about which they wrote anything."""
        return self.table[(self.table["label"] != "") | (self.table["note"] != "")]

    @property
    def by_filters_alone(self) -> bool:
        """Whether the filters alone list the same: no example's, and nothing that people wrote has a say."""
        same = self.query.choose(self.filters)["feature"].tolist() if self.matches is None else None
        return same == self.rows["feature"].tolist()

    def loosened(self) -> list[tuple[str, str, int]]:
        """`FeatureTable.loosened` of these filters."""
        return self.query.loosened(self.filters, matches=self.matches, written=self.written)


def query_of(index: FeatureIndex) -> FeatureTable:
    """An index's features, to be asked for; read once and shared."""
    return _query(index.id, index)


def listed(here: Place, index: FeatureIndex, filters: Filters, sample: str) -> Listed:
    """The features that pass the filters, and fire on a text if one is given."""
    query = query_of(index)
    table = with_notes(query.table, index)
    matches = _matches(here, index, query, sample) if sample.strip() else None
    noted = noted_filter(table)
    found = Listed(query, table, filters, matches, noted, table)
    if matches is not None:
        return replace(found, rows=_rows(found))
    # Paging through the list asks for the same one again and again.
    return replace(found, rows=_known_rows(index.id, repr(filters), noted, written_as_text(found.written), found))


def _rows(found: Listed) -> pd.DataFrame:
    rows = found.query.choose(found.filters, matches=found.matches, written=found.written)
    return kept(rows.join(found.table[["label", "note", "bookmarked", "lists"]]), found.noted)


@st.cache_resource(max_entries=16, show_spinner=False)
def _known_rows(index_id: str, filters: str, noted: str, written: str, _found: Listed) -> pd.DataFrame:
    return _rows(_found)


def listed_by_filters(index: Told, found: Listed) -> Told:
    """The listed features as the filters alone list them: of `Listed.by_filters_alone`."""
    asked = {name: value for name, value in vars(found.filters).items() if value != getattr(Filters(), name)}
    imports = index.imports | {"from workbench.features.query.table import FeatureTable"}
    return Told(found.query, "FeatureTable(index)", imports, index.lines).do("choose", call(Filters, **asked))


def neighbours_in(listed: pd.DataFrame, feature: int) -> tuple[int | None, int | None, int | None]:
    """The features before and after one in the list, and its place there from 1; None where there is none."""
    order: list[Any] = listed["feature"].tolist()
    if feature not in order:
        return None, (order[0] if order else None), None
    at = order.index(feature)
    before = order[at - 1] if at > 0 else None
    after = order[at + 1] if at + 1 < len(order) else None
    return before, after, at + 1


def _matches(here: Place, index: FeatureIndex, query: FeatureTable, sample: str) -> pd.DataFrame | None:
    """What fires on the text; None, and the page says why, where it cannot be read."""
    try:
        dictionary = serve.dictionary_of(here.run, index)
        key = f"{here.run.find('model').id} {index.id}"
        reading = serve.reading(serve.model(here.run), dictionary, sample, key)
    except (ValueError, ArtifactError) as error:
        with st.sidebar:
            plain(ValueError(f"the example is left out: {error}"))
        return None
    return query.matching_text(reading.features[1:], reading.values[1:])  # the first position is BOS


@st.cache_resource(max_entries=8, show_spinner="Opening the index …")
def _query(index_id: str, _index: FeatureIndex) -> FeatureTable:
    return FeatureTable(_index)
