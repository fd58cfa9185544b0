"""Erasers on rows whose classes are known: what each leaves, by measures that are checked against scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from probes import MLPProbe
from tests.small_python_source import small_bench, small_source
from workbench.reproductions import concept_erasure as result


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_source(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module", params=result.N_CLASSES)
def rows(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result, "D_PLANTED", 12)
        yield result.planted(request.param, seed=0, n=1200)


@pytest.fixture(scope="module")
def found(rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result, "ASKED_MLP", ("nothing", "LEACE"))
        patch.setattr(result, "MLPProbe", lambda random_state: MLPProbe(max_epochs=30, random_state=random_state))
        yield result.measured(rows, n_rounds=2, seed=0).set_index("eraser")


def test_the_gap_is_that_of_an_unpenalised_regression(rows):
    gap, held_out = result.logistic_gaps(rows.fit, rows.y_fit, rows.held_out, rows.y_held_out, seed=0)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(rows.fit / rows.fit.std(0), rows.y_fit)
    labels = np.arange(rows.y_fit.max() + 1)
    shares = np.bincount(rows.y_fit) / len(rows.y_fit)
    for x, y, ours in ((rows.fit, rows.y_fit, gap), (rows.held_out, rows.y_held_out, held_out)):
        fitted = log_loss(y, oracle.predict_proba(x / rows.fit.std(0)), labels=labels)
        constant = log_loss(y, np.tile(shares, (len(y), 1)), labels=labels)
        assert ours == pytest.approx(constant - fitted, abs=1e-4)
    assert gap > 0.05


def test_a_start_far_from_the_constant_is_left_behind(rows):
    """The fit finds the constant where there is nothing to be found, whatever it begins with."""
    y = np.random.default_rng(0).permutation(rows.y_fit)
    left = result.LEACE().fit(rows.fit, y).transform(rows.fit)
    gaps = [result.logistic_gaps(left, y, left, y, seed)[0] for seed in range(3)]
    np.testing.assert_allclose(gaps, 0, atol=1e-9)


def test_leace_leaves_no_linear_trace_and_others_do(found, rows):
    leace = found.loc["LEACE"]
    assert abs(leace["gap"]) < 1e-9
    assert leace["means"] < 1e-9
    assert leace["rank"] == rows.y_fit.max()
    assert abs(found.loc["mean projection", "gap"]) < 1e-9
    for name in ("nothing", "random directions"):
        assert found.loc[name, "gap"] > 0.05
        assert found.loc[name, "means"] > 0.01
    assert found.loc["INLP", "rank"] >= leace["rank"]


def test_leace_changes_rows_less_than_what_erases_as_well(found):
    change = found["change"]
    assert 0 < change["LEACE, labels known"] < change["LEACE"] < change["mean projection"]
    assert change["nothing"] == 0


def test_what_is_not_linear_stays(found):
    assert found.loc["LEACE", "mlp_gap"] > 0.02
    assert found.loc["LEACE", "held_out_gap"] == pytest.approx(0, abs=1e-9)
    assert found.loc["nothing", "mlp_gap"] > found.loc["LEACE", "mlp_gap"]


def test_random_directions_are_orthonormal_and_taken_out():
    x = np.random.default_rng(0).normal(size=(50, 8))
    eraser = result.random_eraser(x, 3, seed=1)
    np.testing.assert_allclose(eraser.right @ eraser.left, np.eye(3), atol=1e-12)
    assert eraser.rank == 3


def test_classes_that_no_fitted_row_has_are_not_judged(source, monkeypatch):
    classes = {"all": np.where(np.arange(4000) < 3000, np.arange(4000) % 2, np.arange(4000) % 3)}
    monkeypatch.setattr(result, "choose_rows", lambda store, *_: (np.arange(100), Halves))
    monkeypatch.setattr(result, "probe_labels", lambda *_: {"label": classes["all"][2950:3050]})
    rows = result.recorded(source, 100, 0)["label"]
    assert set(rows.y_fit) == set(rows.y_held_out) == {0, 1}
    assert len(rows.y_fit) == 50
    assert len(rows.held_out) == len(rows.y_held_out) < 50


class Halves:
    fit, held_out = np.arange(50), np.arange(50, 100)


def test_the_table_has_planted_and_recorded_concepts(source, monkeypatch):
    monkeypatch.setattr(result, "LABELS", ("is_large", "is_fifth"))
    monkeypatch.setattr(result, "D_PLANTED", 12)
    monkeypatch.setattr(result, "MLPProbe", lambda random_state: MLPProbe(max_epochs=2, random_state=random_state))
    monkeypatch.setattr(result, "planted", lambda k, seed, planted=result.planted: planted(k, seed, 600))
    monkeypatch.setattr(result, "python_source", lambda bench: source)
    bench = small_bench(source.run.path.parents[1])
    rows = result.reproduce(bench)
    table = pd.read_parquet(bench.path / "analyses/erasure/result.parquet")
    assert set(table["concept"]) == {"planted, 2 classes", "planted, 5 classes", "is_large", "is_fifth"}
    assert set(table["eraser"]) == {
        "nothing",
        "LEACE",
        "LEACE, labels known",
        "INLP",
        "mean projection",
        "random directions",
    }
    judged = [row for row in rows if row.bar]
    assert len(judged) == 4 * 4
    assert all(row.passed for row in judged), [row for row in judged if not row.passed]


def test_a_bar_that_is_missed_is_told():
    erasers = ["nothing", "LEACE", "LEACE, labels known", "INLP", "mean projection", "random directions"]
    columns = dict.fromkeys(("gap", "means", "rank", "held_out_gap", "new_gap", "mlp_gap"), 0.0)
    lines = [{"eraser": name, "concept": "c", "seed": 0, "classes": 2, "change": 0.1, **columns} for name in erasers]
    good = pd.DataFrame(lines)
    good.loc[good["eraser"] == "mean projection", "change"] = 0.2
    bad = good.assign(gap=-2e-6, means=2e-6, rank=2, change=0.1)
    for table, passed in ((good, True), (bad, False)):
        assert [row.passed for row in result.rows_of(table) if row.bar] == [passed] * 4
