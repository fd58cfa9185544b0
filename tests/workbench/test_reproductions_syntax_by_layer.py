"""Gains over embedding, random weights and type alone, and the recordings that they are read from."""

import numpy as np
import pandas as pd
import pytest

from tests.small_python_source import small_bench, small_source
from workbench.reproductions import syntax_by_layer as result
from workbench.reproductions.syntax_recording import labelled, recordings

HOOKS = [*result.STREAM, *result.NEURONS]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("root")
    source = small_source(path)
    told = []
    bench = small_bench(path)
    bench = type(bench)(bench.path, full=False, tell=told.append)
    return source, bench, recordings(bench, source, HOOKS), told


def test_both_subjects_are_recorded_once_at_the_same_places(made):
    source, bench, stores, told = made
    assert len(told) == 2
    again = recordings(bench, source, HOOKS)
    assert len(told) == 2
    assert [store.id for store in again] == [store.id for store in stores]
    about = [store.columns("doc", "pos", "token").to_pydict() for store in stores]
    assert about[0] == about[1]
    rows = np.arange(50)
    last = [store.read(result.LAST, rows) for store in stores]
    assert (last[0] != last[1]).any()
    for path in stores.trained.manifest.inputs:
        assert (bench.path / path).resolve().is_relative_to(source.run.path.resolve())
    recordings(bench, source, HOOKS[:2])
    assert len(told) == 4  # other hooks are another recording


def test_rows_of_a_label_come_with_their_tokens_and_test_documents_last(made):
    stores = recordings(made[1], made[0], HOOKS)
    rows = labelled(stores.trained, result.LAST, "is_fifth")
    np.testing.assert_array_equal(rows.label, rows.word % 5 == 1)
    assert rows.n_fit == len(stores.trained.rows_of("train"))
    x = stores.trained.read(result.LAST, stores.trained.rows_of("test")).float().numpy()
    np.testing.assert_array_equal(rows.x[rows.n_fit :], x)


def sweep(low=0.78):
    lines = []
    for label in result.LABELS:
        for hook in HOOKS:
            scores = {"probe": 0.55 if hook == result.EMBEDDING else 0.8, "random subject": 0.5, "type alone": 0.6}
            scores |= {"control task": 0.7}
            for variant, score in scores.items():
                ends = {f"{result.METRIC}_low": score - 0.02, f"{result.METRIC}_high": score + 0.02}
                if variant == "probe" and hook == result.LAST and label in result.LABELS[:7]:
                    ends[f"{result.METRIC}_low"] = low
                line = {"label": label, "hook": hook, "variant": variant, result.METRIC: score, "held_out_rows": 1000.0}
                lines.append(line | ends)
    return pd.DataFrame(lines)


def test_gains_are_over_the_embedding_and_over_what_the_same_hook_has():
    gains = result.gains_of(sweep()).set_index(["label", "hook"])
    last = gains.loc["inside_class", result.LAST]
    assert [last[name] for name in ("score", "embedding", "random", "type")] == [0.8, 0.55, 0.5, 0.6]
    assert last["above_all"]
    assert not gains.loc["inside_class", result.EMBEDDING]["above_all"]  # it is not above itself, nor the type


@pytest.mark.parametrize(("low", "share", "passed"), [(0.78, "1.00", True), (0.61, "0.42", False)])
def test_intervals_must_be_apart_for_half_of_the_labels(low, share, passed):
    found = sweep(low)
    rows = result.rows_of(found, result.gains_of(found))
    assert rows[0].ours == share
    assert [row.passed for row in rows if row.bar] == [passed]
    assert len(rows) == 4 + len(result.LABELS)


def test_the_whole_table_of_a_small_subject(made, monkeypatch):
    source, bench, *_ = made
    monkeypatch.setattr(result, "python_source", lambda bench: source)
    monkeypatch.setattr(result, "LABELS", ("is_large", "is_fifth"))
    rows = result.reproduce(bench)
    assert [row.result.split(":")[0] for row in rows[-2:]] == ["is_large", "is_fifth"]
    # What the token tells, the token tells.
    assert all(row.ours.endswith("type 1.000") for row in rows[-2:])
    assert rows[0].passed is False
