"""`FeatureTable`: which features of an index pass some filters, and in which order, at once.

DuckDB reads the index's Parquet once into memory and is then shut off from files and from the network. Whatever a
person asks for reaches it as the value of a parameter, and never as a part of SQL. What the codes and the recorded text
know beside it (tokens, contexts, a text that is given) is counted from them directly and joined.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int

from models.artifacts import ArtifactError
from workbench.features.index.contexts import Contexts
from workbench.features.index.feature_index import Example, FeatureIndex
from workbench.features.query.filters import BEST_MATCH, MOST_TELLING, ORDERS, Filters, conditions
from workbench.features.query.telling import gain_of, most_telling

# Nothing is fetched, nothing is spilled to a disk, and no variable of ours is looked for where a table is missing.
_SETTINGS: dict[str, Any] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
    "threads": 1,  # a table of 16,384 rows is one morsel or few
}
_SHUT = ("SET enable_external_access = false", "SET lock_configuration = true")
_REMEMBERED = 32
_MEASURES = (
    *("f1", "f1_low", "support", "neuron_f1", "precision", "recall", "lift", "gain"),
    *("density", "documents", "max"),
)


class FeatureTable:
    """The features of an index as a table to filter and to sort. Threads may share it: a question has its own cursor.

    Args:
        index: the index; what is read from it is read once.

    Raises:
        ArtifactError: a file of the index is missing or damaged.
    """

    def __init__(self, index: FeatureIndex) -> None:
        self.index = index
        self.table = index.table.assign(gain=gain_of(index.table), turn=most_telling(index.table))
        self._known: OrderedDict[tuple[str, str], pd.DataFrame] = OrderedDict()
        self._lock = threading.Lock()
        self._open = [duckdb.connect(":memory:", config=_SETTINGS)]
        # Whoever keeps this to the end of the process lets go of the connection before DuckDB's own end is told of it.
        weakref.finalize(self, self._open.clear)
        try:
            self._read(self._open[0])
        except (duckdb.Error, OSError) as error:
            raise ArtifactError(f"{index.path} is damaged: its tables cannot be read: {error}") from error
        for statement in _SHUT:
            self._open[0].execute(statement)

    def choose(
        self, filters: Filters, *, matches: pd.DataFrame | None = None, written: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        """The features that pass, in order: the rows of the index's table with `gain`, `turn` and `match`.

        `match` says how well a feature fits what is asked for: by `matches` if given, else by the share of its firings
        that are on `filters.token`, else by the share of its examples that hold `filters.context`, else by its F1 for
        `filters.concept`; where none of these is asked for it is missing, and the most telling features come first.

        Args:
            filters: what they must be like.
            matches: if given, only these features, each once: columns `feature` and `match`, as `matching_text` gives.
            written: what people wrote: columns `feature`, `label` and `note`.
        """
        sql, values = self._statement(filters, matches, written, self._order(filters, matches))
        with self._asked(sql, values) as cursor:
            found = cursor.fetchnumpy()
        match = np.ma.filled(np.ma.asarray(found["match"], dtype=np.float64), np.nan)
        return self.table.iloc[np.asarray(found["feature"])].assign(match=match)

    def loosened(
        self, filters: Filters, *, matches: pd.DataFrame | None = None, written: pd.DataFrame | None = None
    ) -> list[tuple[str, str, int]]:
        """For each respect in which the filters ask for something: it, in words, and how many pass without it.

        The most first.
        """
        counts = []
        for name, words in filters.active.items():
            sql, values = self._statement(filters.without(name), matches, written, "feature")
            with self._asked(f"SELECT count(*) FROM ({sql})", values) as cursor:
                counts.append((name, words, int(cursor.fetchall()[0][0])))
        return sorted(counts, key=lambda line: -line[2])

    def sorted_by(self, filters: Filters, matches: pd.DataFrame | None = None) -> tuple[str, bool]:
        """The column that a list is sorted by, and whether small ones come first."""
        column, ascending = ORDERS[filters.order]
        if filters.order == BEST_MATCH and not self.matched_by(filters, matches):
            column, ascending = ORDERS[MOST_TELLING]
        return column, ascending != filters.reverse

    @staticmethod
    def matched_by(filters: Filters, matches: pd.DataFrame | None = None) -> str:
        """What `match` says: `text`, `token`, `context`, `concept`, or nothing."""
        if matches is not None:
            return "text"
        return next((name for name in ("token", "context", "concept") if getattr(filters, name)), "")

    @cached_property
    def concepts(self) -> list[str]:
        """The statements of the labels that any feature detects, in the order of the alphabet."""
        with self._asked("SELECT DISTINCT concept FROM names WHERE kind <> 'token' ORDER BY concept") as cursor:
            return [concept for (concept,) in cursor.fetchall()]

    def firing_on(self, token: str) -> pd.DataFrame:
        """The features that fire on a token: feature, firings (on it), match (their share of the feature's firings).

        Args:
            token: the token but for white space around it; within quotation marks exactly it. `·`, `→` and `↵` may
                stand for a space, a tab and a line's end.
        """
        return self._remembered("token", token, self._firing_on)

    def with_context(self, words: str) -> pd.DataFrame:
        """The features of which an example has these words around it: feature, examples, match (their share of all).

        Examples are the strongest ones of each feature and those of its bands, with the tokens that a feature's page
        shows around them. Upper and lower case are the same; quotation marks hold words together.
        """
        return self._remembered("context", words, lambda asked: self._contexts.features_with(asked))

    def matching_text(self, features: Sequence[Int[np.ndarray, " _"]], values: Sequence[Any]) -> pd.DataFrame:
        """The features that fire on a text, and how much more often than on the recording.

        Columns feature, firings, strongest (value there) and match: the log-likelihood ratio (Dunning 1993, doi
        10.5555/972450.972454) of `k` firings on `n` tokens, n · KL(k/n || density) in nats, negative where a feature
        fires less often than usual.

        Args:
            features: at each position of the text, BOS left out, the features that fire.
            values: how strongly.
        """
        n = len(features)
        which = np.concatenate([np.empty(0, np.int64), *features])
        found, place, firings = np.unique(which, return_inverse=True, return_counts=True)
        strongest = np.zeros(len(found))
        np.maximum.at(strongest, place, np.concatenate([np.empty(0), *values]))
        usual = self.table["density"].to_numpy()[found]
        # One that was never seen to fire may have been about to.
        usual = np.clip(usual, 1 / (self.index.n_rows + 2), 1 - 1 / (self.index.n_rows + 2))
        here = firings / max(1, n)
        silent = np.where(here < 1, (1 - here) * np.log(np.maximum(1 - here, 1e-300) / (1 - usual)), 0.0)
        ratio = n * (here * np.log(here / usual) + silent)
        match = np.where(here >= usual, ratio, -ratio)
        return pd.DataFrame({"feature": found, "firings": firings, "strongest": strongest, "match": match})

    def strongest(self, features: Sequence[int], *, before: int = 12, after: int = 6) -> dict[int, Example]:
        """The strongest example of each of some features; those that never fire have none."""
        asked = [int(feature) for feature in features]
        sql = (
            "SELECT feature, row, value FROM examples "
            "WHERE kind = 'top' AND rank = 0 AND feature IN (SELECT unnest(?::BIGINT[]))"
        )
        with self._asked(sql, [asked]) as cursor:
            found = cursor.fetchall()
        return {
            feature: self.index.example_at(
                feature, SimpleNamespace(kind="top", band=None, rank=0, row=row, value=value), before, after
            )
            for feature, row, value in found
        }

    @contextmanager
    def _asked(self, sql: str, values: Sequence[Any] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor with the answer: it is nobody else's, whose question would take the answer away."""
        with self._open[0].cursor() as cursor:
            yield cursor.execute(sql, list(values))

    def _read(self, database: duckdb.DuckDBPyConnection) -> None:
        # Python's casefold is what people expect of letters beyond a to z; DuckDB's own is simpler.
        words = self.table["name"] + " " + self.table["top_tokens"] + " " + self.table["feature"].astype(str)
        known = self.table[["feature", "name", "kind", "turn", *_MEASURES]]
        known = known.assign(words=words.str.casefold(), dead=self.table["dead"].astype(bool))
        # A missing number is NULL here, so that no bound holds for it and it comes last in every order.
        database.register("known", pa.Table.from_pandas(known, preserve_index=False))
        database.execute("CREATE TABLE features AS SELECT * FROM known")
        database.unregister("known")
        kinds = ("names", "detectors", "concepts", "examples")
        file = {name: str(self.index.path / f"{name}.parquet") for name in kinds}
        database.execute(
            "CREATE TABLE names AS SELECT feature, kind, concept, max(f1) AS f1 FROM read_parquet(?) GROUP BY ALL",
            [file["names"]],
        )
        # An index made before detectors were kept knows the best of each concept alone.
        for name, f1 in (("detectors", "f1"), ("concepts", "feature_f1")):
            if Path(file[name]).exists():
                database.execute(
                    f"INSERT INTO names SELECT feature, 'syntax', concept, {f1} FROM read_parquet(?)", [file[name]]
                )
                break
        database.execute(
            "CREATE TABLE examples AS SELECT feature, kind, rank, row, value FROM read_parquet(?) "
            "WHERE kind IN ('top', 'band')",
            [file["examples"]],
        )

    def _order(self, filters: Filters, matches: pd.DataFrame | None) -> str:
        column, ascending = self.sorted_by(filters, matches)  # a name of ours
        return f'"{column}" {"ASC" if ascending else "DESC"} NULLS LAST, feature'

    def _statement(
        self, filters: Filters, matches: pd.DataFrame | None, written: pd.DataFrame | None, order: str
    ) -> tuple[str, list[Any]]:
        """The query and the values of its parameters, in order."""
        joins, values, of_match = [], [], []
        asked = [] if matches is None else [("text_match", matches)]
        asked += [("token_match", self.firing_on(filters.token))] if filters.token.strip() else []
        asked += [("context_match", self.with_context(filters.context))] if filters.context.strip() else []
        for name, found in asked:
            joins.append(f"JOIN {_given(name, 'DOUBLE')} USING (feature)")
            values += [found["feature"].tolist(), found["match"].tolist()]
            of_match.append(f"{name}.given")
        if filters.concept:
            joins.append("JOIN (SELECT feature, max(f1) AS f1 FROM names WHERE concept = ? GROUP BY feature) named")
            joins[-1] += " USING (feature)"
            values.append(filters.concept)
            of_match.append("named.f1")
        notes = _folded(written)
        joins.append(f"LEFT JOIN {_given('note', 'VARCHAR')} USING (feature)")
        values += [notes["feature"].tolist(), notes["words"].tolist()]
        match = f"nullif({of_match[0]}::DOUBLE, 'nan'::DOUBLE)" if of_match else "NULL::DOUBLE"
        rows = f"SELECT features.*, {match} AS match, note.given AS written FROM features {' '.join(joins)}"
        where = conditions(filters)
        for _, own in where:
            values += own
        held = " AND ".join(f"({condition})" for condition, _ in where) or "true"
        return f"SELECT feature, match FROM ({rows}) WHERE {held} ORDER BY {order}", values

    @cached_property
    def _contexts(self) -> Contexts:
        with self._asked("SELECT feature, row FROM examples") as cursor:
            found = cursor.fetchnumpy()
        return Contexts(self.index, np.asarray(found["feature"]), np.asarray(found["row"]))

    def _firing_on(self, token: str) -> pd.DataFrame:
        words = self.index.vocabulary
        exact = len(token) > 2 and token[0] == token[-1] and token[0] in "'\""
        wanted = (token[1:-1] if exact else token.strip()).translate(_GLYPHS)
        ids = [i for i, word in enumerate(words) if word == wanted or (not exact and word.strip() == wanted.strip())]
        on_it = np.zeros(len(words), bool)
        on_it[ids] = bool(wanted.strip()) or exact
        starts, rows = self.index.codes()
        there = np.flatnonzero(on_it[self.index.rows["token"]][rows])
        firings = np.diff(np.searchsorted(there, starts))
        found = np.flatnonzero(firings)
        share = firings[found] / np.diff(starts)[found]
        return pd.DataFrame({"feature": found, "firings": firings[found], "match": share})

    def _remembered(self, kind: str, asked: str, find: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
        """The same question comes again with every page of a list."""
        key = (kind, asked)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            found = self._known[key] = find(asked)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found


_GLYPHS = str.maketrans({"·": " ", "→": "\t", "↵": "\n"})


def _given(name: str, kind: str) -> str:
    """Features with one thing each that is known of them, as a table made of two parameters."""
    return f"(SELECT unnest(?::BIGINT[]) AS feature, unnest(?::{kind}[]) AS given) {name}"


def _folded(written: pd.DataFrame | None) -> pd.DataFrame:
    """What people wrote about each feature, as it is searched."""
    if written is None:
        return pd.DataFrame({"feature": [], "words": []})
    words = (written["label"] + " " + written["note"]).str.casefold()
    return pd.DataFrame({"feature": written["feature"], "words": words})[words.str.strip() != ""]
