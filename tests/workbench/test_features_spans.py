"""Spans that share an active set: against brute force, on rows and on codes alike, beside random sets."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from workbench.features.index.feature_index import FeatureIndex
from workbench.features.spans.bounds import Bounds, bounds
from workbench.features.spans.labels import span_labels, statements
from workbench.features.spans.sources import IndexedCodes, _cuts
from workbench.features.spans.spans import active_set, matching_spans, random_spans

N_UNITS = 12


class Rows:
    """Values of units held in memory, in blocks of whole sequences."""

    def __init__(self, values: np.ndarray, seq: np.ndarray, pos: np.ndarray, most: int = 70) -> None:
        self.values, self.seq, self.pos, self.most = values, seq, pos, most
        self.doc, self.doc_names = seq // 2, np.array([f"doc-{i}" for i in range(99)], dtype=object)
        self.n_units = values.shape[1]

    def check(self, bounds: Bounds) -> None:
        """Whatever is asked for."""

    def quantile(self, q: float) -> np.ndarray:
        return np.sort(self.values, 0)[int(q * (len(self.values) - 1))]

    def blocks(self, bounds: Bounds, columns: np.ndarray):
        for first, last in _cuts(self.seq, self.most):
            yield first, bounds.on(self.values[first:last], columns)

    def at(self, bounds: Bounds, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return bounds.on(self.values[rows], columns)

    def density(self, bounds: Bounds) -> np.ndarray:
        return bounds.on(self.values).mean(0)

    def held(self, bounds: Bounds, row: np.ndarray, length: np.ndarray) -> np.ndarray:
        lit = bounds.on(self.values)
        return np.array([lit[a : a + n].all(0).sum() for a, n in zip(row, length, strict=True)], np.int64)


@pytest.fixture
def source() -> Rows:
    """Slow noise, so that units stay on for a while: 15 sequences of different lengths, one with a gap."""
    rng = np.random.default_rng(0)
    seq = np.repeat(np.arange(15), rng.integers(3, 40, 15))
    pos = np.concatenate([np.arange(n) + 1 for n in np.bincount(seq)])
    pos[seq == 4] += 7 * (np.arange((seq == 4).sum()) > 5)
    noise = rng.normal(size=(len(seq) + 8, N_UNITS))
    values = sum(noise[i : i + len(seq)] for i in range(8)).astype(np.float32)
    return Rows(values, seq, pos)


def brute_force(
    source: Rows, lit: np.ndarray, active: np.ndarray, length: int, least: float
) -> set[tuple[int, int, int]]:
    """Every stretch throughout which the same of the set are on, and neither end of which can be moved outwards."""
    n, found = len(source.seq), []
    for a in range(n):
        for b in range(a + length, n + 1):
            whole = (source.seq[a:b] == source.seq[a]).all() and (np.diff(source.pos[a:b]) == 1).all()
            if not whole:
                break
            windows = [frozenset(active[lit[i : i + length][:, active].all(0)]) for i in range(a, b - length + 1)]
            if len(set(windows)) > 1 or len(windows[0]) < np.ceil(least * len(active) - 1e-9):
                break
            found.append((a, b, len(windows[0])))
    outermost = [
        (a, b, k)
        for a, b, k in found
        if not any((c <= a and b <= d and (a, b) != (c, d)) and k == m for c, d, m in found)
    ]
    kept: list[tuple[int, int, int]] = []
    for a, b, k in sorted(outermost, key=lambda s: (-s[2], s[0] - s[1], s[0])):
        if all(b <= c or d <= a for c, d, _ in kept):
            kept.append((a, b, k))
    return set(kept)


@pytest.mark.parametrize("side", ["above", "below", "either"])
@pytest.mark.parametrize(("length", "least"), [(1, 1.0), (3, 0.5), (4, 0.3), (60, 0.5)])
def test_what_is_found_is_what_brute_force_finds(source: Rows, side, length: int, least: float) -> None:
    limits = bounds(source, value=0.4, side=side)
    active = np.array([1, 4, 5, 9])
    found = matching_spans(source, limits, active, length, least=least)
    lit = limits.on(source.values)
    oracle = brute_force(source, lit, active, length, least)
    assert {(a, a + n, k) for a, n, k in zip(found["row"], found["length"], found["shared"], strict=True)} == oracle
    assert bool(oracle) == (length < 60)
    for match in found.to_dict("records"):
        a, b = match["row"], match["row"] + match["length"]
        here = set(np.flatnonzero(lit[a:b].all(0)))
        ours = set(active)
        assert match["shared"] == len(here & ours)
        assert match["on"] == len(here)
        assert match["jaccard"] == pytest.approx(len(here & ours) / len(here | ours))
        assert (match["sequence"], match["start"]) == (source.seq[a], source.pos[a])
        assert match["stop"] - match["start"] == b - a
        assert match["doc"] == f"doc-{source.seq[a] // 2}"
    assert found["jaccard"].is_monotonic_decreasing


def test_how_the_recording_is_cut_into_blocks_changes_nothing(source: Rows) -> None:
    limits, active = bounds(source, quantile=0.6), np.array([0, 2, 7])
    whole = matching_spans(Rows(source.values, source.seq, source.pos, 10**6), limits, active, 2)
    for most in (1, 41, 100):
        cut = matching_spans(Rows(source.values, source.seq, source.pos, most), limits, active, 2)
        pd.testing.assert_frame_equal(cut, whole)


def test_a_span_finds_itself_first_and_can_be_left_out(source: Rows) -> None:
    limits = bounds(source, quantile=0.5, side="either")
    row = int(np.flatnonzero(source.seq == 6)[2])
    mine = source.values[source.seq == 6]
    active = active_set(mine, 2, 5, limits)
    assert len(active)
    found = matching_spans(source, limits, active, 3, least=0.9)
    first = found.iloc[0]
    assert first["row"] <= row
    assert row + 3 <= first["row"] + first["length"]
    assert first["shared"] == len(active)
    start = int(source.pos[row])
    rest = matching_spans(source, limits, active, 3, least=0.9, leave_out=(6, start, start + 3))
    assert len(rest) == len(found) - 1
    assert not ((rest["sequence"] == 6) & (rest["start"] < start + 3) & (rest["stop"] > start)).any()


def test_the_active_set_is_on_throughout_and_off_beside_where_that_is_asked(source: Rows) -> None:
    values = np.zeros((6, 4), np.float32)
    values[1:5, 0], values[2:4, 1], values[0:4, 2], values[2, 3] = 1, 1, 1, 1
    limits = bounds(Rows(values, np.zeros(6, int), np.arange(6)), value=0.5)
    assert active_set(values, 2, 4, limits).tolist() == [0, 1, 2]
    assert active_set(values, 2, 4, limits, off_after=True).tolist() == [1, 2]
    assert active_set(values, 2, 4, limits, off_before=True).tolist() == [1]
    assert active_set(values, 0, 4, limits, off_before=True).tolist() == [2]


def test_a_quantile_puts_each_unit_on_as_often(source: Rows) -> None:
    lit = bounds(source, quantile=0.9, side="either").on(source.values)
    assert lit.mean(0) == pytest.approx(np.full(2 * N_UNITS, 0.1), abs=0.01)


def test_random_sets_are_as_large_as_dense_and_find_what_chance_gives() -> None:
    """Units that go together by a hidden cause share spans; as many that do not are rarely on together."""
    rng = np.random.default_rng(1)
    n = 4000
    seq, pos = np.arange(n) // 50, np.arange(n) % 50
    cause = np.repeat(rng.random(n // 5) < 0.2, 5)
    together = np.repeat(cause[:, None], 5, 1)
    alone = np.stack([np.repeat(rng.random(n // 5) < 0.2, 5) for _ in range(15)], 1)
    source = Rows(np.concatenate([together, alone], 1).astype(np.float32), seq, pos, 500)
    limits, active = bounds(source, value=0.5), np.arange(5)
    found = matching_spans(source, limits, active, 5, least=1.0)
    chance = random_spans(source, limits, active, 5, least=1.0, n_random=6)
    assert found["length"].sum() == cause.sum()
    assert len(chance) / 6 < len(found) / 20
    said = statements(pa.table({"is_cause": cause, "is_noise": rng.random(n) < 0.3}))
    loose = random_spans(source, limits, active, 5, least=0.2, n_random=6)
    labels = span_labels(said, found, loose).set_index("label")
    assert labels.index[0] == "cause"
    assert labels.loc["cause", ["precision", "recall", "throughout"]].tolist() == [1, 1, 1]
    assert labels.loc["cause", "lift"] == pytest.approx(1 / cause.mean())
    assert labels.loc["noise", "lift"] == pytest.approx(1, abs=0.15)
    assert labels.loc["cause", "random"] == pytest.approx(cause.mean(), abs=0.1)
    again = random_spans(source, limits, active, 5, least=0.2, n_random=6)
    pd.testing.assert_frame_equal(again, loose)


class Codes(FeatureIndex):
    """What an index tells of its codes, feature by feature, held in memory."""

    rows, documents, n_features = {}, pd.DataFrame({"name": [f"doc-{i}" for i in range(99)]}), N_UNITS

    def __init__(self, values: np.ndarray, seq: np.ndarray, pos: np.ndarray) -> None:
        self._values = values
        self.rows = {"seq": seq, "pos": pos, "doc": seq // 2}

    def values(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(self._values[:, feature])
        return rows, self._values[rows, feature]


@pytest.mark.parametrize("threshold", [{"value": 0.0}, {"value": 1.5}, {"quantile": 0.8}])
def test_codes_kept_feature_by_feature_are_searched_as_rows_are(source: Rows, threshold: dict) -> None:
    sparse = np.where(source.values > 1, source.values, 0).astype(np.float32)
    rows, codes = Rows(sparse, source.seq, source.pos), IndexedCodes(Codes(sparse, source.seq, source.pos))
    by_rows, by_codes = bounds(rows, **threshold), bounds(codes, **threshold)
    assert by_codes.bound == pytest.approx(by_rows.bound)
    assert codes.density(by_codes) == pytest.approx(rows.density(by_rows))
    active = np.array([0, 3, 8])
    some = np.array([3, 9, 40])
    assert (codes.at(by_codes, some, active) == rows.at(by_rows, some, active)).all()
    mine, other = (matching_spans(s, b, active, 2, least=0.6) for s, b in ((codes, by_codes), (rows, by_rows)))
    assert len(mine)
    pd.testing.assert_frame_equal(mine, other)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "a value or a quantile"),
        ({"value": 1.0, "quantile": 0.5}, "a value or a quantile"),
        ({"quantile": 1.0}, "lies between 0 and 1"),
        ({"value": -1.0, "side": "either"}, "not below zero"),
        ({"value": float("nan")}, "it is a number"),
        ({"value": 1.0, "side": "beyond"}, "no side 'beyond'"),
    ],
)
def test_a_threshold_that_is_none_is_one_sentence(source: Rows, asked: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bounds(source, **asked)


def test_what_cannot_be_searched_is_one_sentence(source: Rows) -> None:
    limits = bounds(source, value=0.0)
    with pytest.raises(ValueError, match="no unit is beyond"):
        matching_spans(source, limits, np.array([], int), 2)
    with pytest.raises(ValueError, match="not as many others"):
        random_spans(source, limits, np.arange(8), 2)
    with pytest.raises(ValueError, match="does not lie in a sequence of 4"):
        active_set(source.values[:4], 2, 6, limits)
    with pytest.raises(ValueError, match="share of the active set"):
        matching_spans(source, limits, np.array([1]), 2, least=0)
    with pytest.raises(ValueError, match="0 nearly everywhere"):
        bounds(IndexedCodes(Codes(source.values, source.seq, source.pos)), value=1.0, side="below")
