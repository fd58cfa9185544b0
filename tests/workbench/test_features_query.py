"""What the query finds is what one finds by looking at each feature in turn; and nothing that is asked for is SQL."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_index import WORDS, made_index

from models.artifacts import ArtifactError
from probes.detection import f1_interval
from workbench.features.naming.comparison import MIN_LIFT, NAMED_F1
from workbench.features.query.filters import ANY, BEST_MATCH, MEASURES, MOST_TELLING, ORDERS, Filters
from workbench.features.query.table import FeatureTable
from workbench.features.query.telling import most_telling, sure_gain_of

N, ROWS, SEQ = 48, 120, 20
CONCEPTS = ["inside a docstring", "after 'x'; DROP TABLE names", "this token is: ' self'"]
NUMBERS = [0.0, 0.1, 0.3, 0.5, 0.7, 1.0]
EVIL = ["'", "%", "_", "x' OR '1'='1", "; DROP TABLE features; --", "?", "\\", "\x00", "[", ".*"]


def make_features(rng: np.random.Generator) -> pd.DataFrame:
    """Features with many ties, missing numbers, and names that would do harm in SQL or in a pattern."""

    def measure(missing: bool = True) -> np.ndarray:
        drawn = rng.choice([*NUMBERS, *([np.nan] if missing else [])], N)
        return drawn.astype(np.float32)

    names = ["in Docstring", "x' OR '1'='1", "100%", "STRASSE", "straße", "no concept found", "", "a.*b"]
    return pd.DataFrame(
        {
            "feature": np.arange(N),
            "density": measure(missing=False).astype(np.float64),
            "max": measure(),
            "documents": measure(),
            "top_tokens": rng.choice(["the a", " self .*", "", "é _"], N),
            "dead": rng.random(N) < 0.2,
            "f1": measure(),
            "f1_low": measure(),
            "support": rng.choice([0, 3, 200], N),
            "precision": measure(),
            "recall": measure(),
            "lift": (5 * measure()).astype(np.float32),
            "neuron_f1": measure(),
            "name": rng.choice(names, N),
            "kind": rng.choice(["token", "syntax", "none"], N),
        }
    )


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> FeatureTable:
    rng = np.random.default_rng(0)
    fires = [sorted(rng.choice(ROWS, rng.integers(0, 6), replace=False).tolist()) for _ in range(N)]
    fires[3] = []
    names = pd.DataFrame(
        {
            "feature": rng.integers(0, N, 60).astype(np.int32),
            "kind": "syntax",
            "concept": rng.choice(CONCEPTS[:2], 60),
            "f1": rng.choice(NUMBERS, 60).astype(np.float32),
        }
    )
    names.loc[0, ["concept", "kind"]] = CONCEPTS[2], "token"
    tokens = rng.integers(1, len(WORDS), ROWS)
    index = made_index(tmp_path_factory.mktemp("i") / "index", make_features(rng), names, tokens, fires, SEQ)
    detectors = names.iloc[1:9].assign(feature=rng.integers(0, N, 8).astype(np.int32), f1=rng.choice(NUMBERS, 8))
    detectors.drop(columns="kind").to_parquet(index.path / "detectors.parquet")
    return FeatureTable(index)


@pytest.fixture(scope="module")
def examples(query: FeatureTable) -> list[tuple[int, int]]:
    found = pd.read_parquet(query.index.path / "examples.parquet").query("kind != 'near_miss'")
    return list(zip(found["feature"].tolist(), found["row"].tolist(), strict=True))


def matches_by_hand(query: FeatureTable, examples: list, asked: Filters) -> list[dict[int, float]]:
    """For each of token, context and concept that is asked for the features that have it, and how well they match."""
    found = []
    index = query.index
    said = [WORDS[token] for token in index.rows["token"]]
    if asked.token:
        quoted = re.fullmatch(r"'(.+)'", asked.token)
        shares = {}
        for feature in range(N):
            rows = index.values(feature)[0]
            on = [said[r] == quoted[1] if quoted else said[r].strip() == asked.token.strip() for r in rows]
            if any(on):
                shares[feature] = sum(on) / len(on)
        found.append(shares)
    if asked.context:
        words = [a or b for a, b in re.findall(r'"([^"]+)"|(\S+)', asked.context.casefold())]
        of: dict[int, list[bool]] = {}
        for feature, row in examples:
            low, high = max(row - 24, row // SEQ * SEQ), min(row + 9, (row // SEQ + 1) * SEQ)
            text = "".join(said[low:high]).casefold()
            of.setdefault(feature, []).append(all(word in text for word in words))
        found.append({feature: sum(held) / len(held) for feature, held in of.items() if any(held)})
    if asked.concept:
        names = pd.concat([pd.read_parquet(index.path / f"{file}.parquet") for file in ("names", "detectors")])
        found.append(names[names["concept"] == asked.concept].groupby("feature")["f1"].max().to_dict())
    return found


def by_hand(
    query: FeatureTable, examples: list, asked: Filters, given_: dict[int, float] | None, notes: dict[int, str]
) -> list[int]:
    """The list as somebody makes it who looks at every feature."""
    matches = ([given_] if given_ is not None else []) + matches_by_hand(query, examples, asked)
    kept = []
    for row in query.table.to_dict("records"):
        feature = row["feature"]
        words = f"{row['name']} {row['top_tokens']} {feature} {notes.get(feature, '')}".casefold()
        passes = [
            *(f"{feature}" == w[1:] if re.fullmatch(r"#\d+", w) else w in words for w in asked.text.casefold().split()),
            not asked.kinds or row["kind"] in asked.kinds,
            not asked.live_only or not row["dead"],
            not asked.beyond_neuron or (row["f1"] >= NAMED_F1 and row["lift"] >= MIN_LIFT and row["gain"] > 0),
            *(feature in match for match in matches),
        ]
        for name in MEASURES:
            low, high = getattr(asked, name)
            value = np.float32(row[name])
            passes += [low is None or value >= np.float32(low), high is None or value <= np.float32(high)]
        if all(passes):
            kept.append(feature)
    table = query.table.assign(match=query.table["feature"].map(matches[0]) if matches else np.nan)
    column, ascending = ORDERS[MOST_TELLING if asked.order == BEST_MATCH and not matches else asked.order]
    chosen = table[table["feature"].isin(kept)]
    return chosen.sort_values(column, ascending=ascending != asked.reverse, kind="stable")["feature"].tolist()


bounds = st.tuples(st.sampled_from([None, *NUMBERS]), st.sampled_from([None, None, *NUMBERS]))
asked_for = st.fixed_dictionaries(
    {
        "text": st.sampled_from(["", "", "DOC", "#12", "4", "strasse", "straße", "é", *EVIL]),
        "token": st.sampled_from(["", "", "self", "' self'", " self ", "turn", *EVIL]),
        "context": st.sampled_from(["", "", "return", '"def self"', "self def", "STRASSE", *EVIL[:-3]]),
        "concept": st.sampled_from(["", "", "", *CONCEPTS, EVIL[4]]),
        "kinds": st.sets(st.sampled_from(["token", "syntax", "none", EVIL[3]]), max_size=2).map(tuple),
        "live_only": st.booleans(),
        "beyond_neuron": st.sampled_from([False, False, True]),
        "order": st.sampled_from(list(ORDERS)),
        "reverse": st.booleans(),
        **dict.fromkeys(MEASURES, st.one_of(st.just(ANY), st.just(ANY), bounds)),
    }
)
matched = st.one_of(
    st.none(), st.dictionaries(st.integers(0, N - 1), st.floats(-5, 5, allow_nan=False, width=32), max_size=20)
)
written = st.dictionaries(st.integers(0, N - 1), st.sampled_from(["my docs", "STRASSE 9", EVIL[3], " "]), max_size=5)


def frames(given_: dict | None, notes: dict) -> dict[str, Any]:
    found = {"written": pd.DataFrame({"feature": list(notes), "label": list(notes.values()), "note": ""}, dtype=object)}
    if given_ is not None:
        found["matches"] = pd.DataFrame({"feature": list(given_), "match": list(given_.values())})
    return found


class TestAgainstLookingAtEach:
    @settings(max_examples=80, deadline=None)
    @given(asked=asked_for, given_=matched, notes=written)
    def test_the_same_features_in_the_same_order(self, query, examples, asked, given_, notes):
        asked = Filters(**asked)
        listed = query.choose(asked, **frames(given_, notes))
        assert listed["feature"].tolist() == by_hand(query, examples, asked, given_, notes)
        pd.testing.assert_frame_equal(listed[query.table.columns], query.table.iloc[listed["feature"]])

    @settings(max_examples=10, deadline=None)
    @given(asked=asked_for, given_=matched, notes=written)
    def test_what_loosening_a_filter_would_let_through(self, query, asked, given_, notes):
        asked = Filters(**asked)
        told = query.loosened(asked, **frames(given_, notes))
        assert {name for name, _, _ in told} == set(asked.active)
        for name, _, n in told:
            assert n == len(query.choose(asked.without(name), **frames(given_, notes)))
        assert [n for *_, n in told] == sorted((n for *_, n in told), reverse=True)

    def test_how_well_they_match_is_told_of_the_first_thing_asked(self, query, examples):
        asked = Filters(token="self", context="def", live_only=False)
        by_token, by_context = matches_by_hand(query, examples, asked)
        listed = query.choose(asked)
        assert listed["match"].tolist() == pytest.approx([by_token[f] for f in listed["feature"]])
        listed = query.choose(replace(asked, token=""))
        assert listed["match"].tolist() == pytest.approx([by_context[f] for f in listed["feature"]])
        assert query.choose(Filters())["match"].isna().all()


class TestWhatFiresOnAText:
    def test_the_ratio_is_the_likelihoods(self, query):
        features = [np.array([1, 2]), np.array([1]), np.array([], np.int64), np.array([1])]
        values = [np.array([0.5, 2.0], np.float32), np.array([3.0], np.float32), np.array([]), np.array([1.0])]
        found = query.matching_text(features, values).set_index("feature")
        assert found["firings"].to_dict() == {1: 3, 2: 1}
        assert found["strongest"].to_dict() == {1: 3.0, 2: 2.0}
        least = 1 / (ROWS + 2)
        for feature, k in ((1, 3), (2, 1)):
            p = min(max(query.table["density"][feature], least), 1 - least)

            def likelihood(share: float, k: int = k) -> float:
                return k * np.log(share) + (4 - k) * np.log(1 - share)

            sign = 1 if k / 4 >= p else -1
            assert found.loc[feature, "match"] == pytest.approx(sign * (likelihood(k / 4) - likelihood(p)))

    def test_a_text_on_which_nothing_fires_matches_nothing(self, query):
        found = query.matching_text([np.array([], np.int64)] * 3, [np.array([])] * 3)
        assert query.choose(Filters(), matches=found).empty


class TestShutOff:
    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM read_text('/etc/hostname')",
            "COPY features TO '{there}'",
            "ATTACH '{there}'",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SET enable_external_access = true",
            "SET lock_configuration = false",
        ],
    )
    def test_what_runs_in_it_reaches_no_file_and_no_network(self, query, tmp_path: Path, statement: str):
        with pytest.raises(duckdb.Error):
            query._open[0].execute(statement.replace("{there}", str(tmp_path / "there")))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("evil", EVIL)
    def test_what_is_asked_for_is_never_sql(self, query, evil: str):
        asked = Filters(text=evil, token=evil, concept=evil, kinds=(evil,))
        written_ = pd.DataFrame({"feature": [1], "label": [evil], "note": [evil]})
        sql, values = query._statement(asked, None, written_, query._order(asked, None))
        tame = Filters(text=" ".join("a" for _ in evil.split()), token="b", concept="c", kinds=("d",))
        same, _ = query._statement(tame, None, None, "x")
        assert sql.rpartition(" ORDER BY ")[0] == same.rpartition(" ORDER BY ")[0]
        assert evil in values
        query.choose(asked, written=written_)
        assert len(query.choose(Filters(live_only=False))) == N

    def test_a_damaged_table_is_told_of(self, query, tmp_path: Path):
        copied = tmp_path / "index"
        copied.mkdir()
        for file in query.index.path.iterdir():
            (copied / file.name).write_bytes(file.read_bytes())
        index = type(query.index)(copied, query.index.manifest)
        assert len(index.table) == N
        (copied / "names.parquet").write_text("torn")
        with pytest.raises(ArtifactError, match="its tables cannot be read"):
            FeatureTable(index)


def test_threads_do_not_take_each_others_answers(query):
    wanted = {
        text: query.choose(Filters(text=text, live_only=False))["feature"].tolist() for text in ("doc", "4", "%", "é")
    }

    def ask(text: str) -> bool:
        return query.choose(Filters(text=text, live_only=False))["feature"].tolist() == wanted[text]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, list(wanted) * 20))


def test_the_strongest_example_of_each(query):
    found = query.strongest(range(N), before=3, after=2)
    assert 3 not in found, "it never fires"
    for feature, example in found.items():
        kept = query.index.examples(feature, "top", before=3, after=2)[0]
        assert replace(example, kind="top") == kept


@pytest.mark.parametrize("order", ["", "match", "gain; DROP TABLE features"])
def test_an_order_that_there_is_not_is_refused(order: str):
    with pytest.raises(ValueError, match="there are best match, most telling, gain over neuron"):
        Filters(order=order)


def test_the_concepts_are_those_of_the_labels(query):
    assert query.concepts == sorted(CONCEPTS[:2])


def test_the_best_match_of_nothing_is_the_most_telling(query):
    assert query.sorted_by(Filters()) == ("turn", True)
    assert query.sorted_by(Filters(concept="x", reverse=True)) == ("match", True)
    assert Filters().order == BEST_MATCH


def test_the_most_telling_take_turns_by_kind_of_name_and_the_largest_sure_gain_is_next(query):
    listed = query.choose(Filters(live_only=False, order=MOST_TELLING))
    dead = listed["dead"].astype(bool).to_numpy()
    assert not (dead[:-1] & ~dead[1:]).any(), "what never fires is last"
    live = listed[~dead]
    kinds = live["kind"].tolist()
    n = min(kinds.count("syntax"), kinds.count("token"))
    assert n > 1
    assert kinds[: 2 * n] == ["syntax", "token"] * n
    assert "none" not in kinds[: len(kinds) - kinds.count("none")], "those without a name come after those with one"
    for kind in ("syntax", "token", "none"):
        gains = sure_gain_of(live[live["kind"] == kind]).fillna(-np.inf)
        assert gains.is_monotonic_decreasing


def test_a_perfect_name_on_a_handful_of_tokens_does_not_come_before_a_good_one_on_many():
    n = np.array([3, 400])
    low = f1_interval(np.array([3, 360]), n, np.array([3, 380]))[:, 0]
    table = pd.DataFrame({"f1": [1.0, 0.92], "f1_low": low, "neuron_f1": 0.0, "dead": False, "kind": "token"})
    assert most_telling(table).tolist() == [1, 0]
