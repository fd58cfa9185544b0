"""Controls, description length, scores and the report that has them all."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from probes import LogisticProbe, MassMeanProbe, MLPProbe
from probes.controls import control_task, identity_predictions, shuffled
from probes.description_length import description_length
from probes.report import VARIANTS, Split, probe_report
from probes.scores import Resampling, Scores
from probes.validation import follows_from_group, split_by_group


def test_a_control_task_depends_on_the_type_alone_and_keeps_the_frequencies():
    rng = np.random.default_rng(0)
    types, y = rng.integers(0, 500, 20_000), (rng.random((20_000, 2)) < [0.1, 0.5]).astype(int)
    task = control_task(types, y)
    for kind in range(500):
        assert len(np.unique(task[types == kind], axis=0)) == 1
    np.testing.assert_allclose(task.mean(0), [0.1, 0.5], atol=0.06)
    assert (control_task(types, y, seed=1) != task).any()
    assert sorted(shuffled(y[:, 0])) == sorted(y[:, 0])


def test_what_the_type_alone_tells():
    fit_types, fit_y = np.array([1, 1, 1, 2, 2, 3]), np.array(["a", "a", "b", "b", "b", "c"])
    found = identity_predictions(fit_types, fit_y, np.array([1, 2, 3, 9, 0]))
    assert found.tolist() == ["a", "b", "c", "b", "b"]


def test_groups_are_never_on_both_sides():
    groups = np.repeat(np.arange(10), 7)
    fit, held_out = split_by_group(groups)
    assert not set(groups[fit]) & set(groups[held_out])
    assert len(set(groups[held_out])) == 2
    with pytest.raises(ValueError, match="at least two groups"):
        split_by_group(np.zeros(9))
    assert follows_from_group(groups % 2, groups)
    assert not follows_from_group(np.arange(70) % 2, groups)
    assert not follows_from_group(np.arange(70) % 2, np.arange(70))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scores_are_scikit_learns(n_classes):
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, 400)
    predicted = np.where(rng.random(400) < 0.6, y, rng.integers(0, n_classes, 400))
    decision = y + rng.standard_normal(400)
    decision[:50] = 0.5
    found = Scores.of(y, predicted, n_classes, Resampling.of_groups(np.arange(400) // 8), decision)
    assert found.accuracy == pytest.approx((y == predicted).mean())
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, predicted))
    assert found.f1 == pytest.approx(f1_score(y, predicted, average="binary" if n_classes == 2 else "macro"))
    if n_classes == 2:
        assert found.auroc == pytest.approx(roc_auc_score(y, decision))
    assert found.low["accuracy"] < found.accuracy < found.high["accuracy"]
    assert found.p_value < 0.01


def test_the_interval_is_over_groups_and_not_over_rows():
    """Rows of a group that are all alike are one example: its interval is as wide as one of so many rows."""
    y = np.repeat(np.random.default_rng(0).integers(0, 2, 50), 40)
    predicted = np.repeat(np.random.default_rng(1).integers(0, 2, 50), 40)
    groups = np.repeat(np.arange(50), 40)
    wide = Scores.of(y, predicted, 2, Resampling.of_groups(groups))
    narrow = Scores.of(y, predicted, 2, Resampling.of_groups(np.arange(2000)))
    widths = [s.high["accuracy"] - s.low["accuracy"] for s in (wide, narrow)]
    assert widths[0] == pytest.approx(widths[1] * np.sqrt(40), rel=0.25)


def test_the_odds_of_chance_are_those_of_dealing_labels_out():
    y = np.array([1] * 10 + [0] * 30)
    predicted = np.array([1] * 6 + [0] * 4 + [1] * 6 + [0] * 24)
    found = Scores.of(y, predicted, 2, Resampling.of_groups(np.arange(40)), n_permutations=20_000).p_value
    assert found == pytest.approx(hypergeom.sf(5, 40, 10, 12), abs=0.005)


def test_labels_that_hang_on_the_document_are_few_examples():
    """Labels and predictions of whole documents that have nothing to do with one another are no sign of anything."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 30)
    resampling, found = Resampling.of_groups(groups), []
    for _ in range(60):
        y, predicted = (rng.integers(0, 2, 60)[groups] for _ in range(2))
        found.append(Scores.of(y, predicted, 2, resampling).p_value)
    assert np.mean(np.array(found) < 0.05) < 0.15
    y = rng.integers(0, 3, 60)[groups]
    right = np.where(rng.random(len(y)) < 0.7, y, rng.integers(0, 3, len(y)))
    assert Scores.of(y, right, 3, resampling).p_value < 0.05


def test_every_shift_of_the_labels_is_counted():
    rng = np.random.default_rng(1)
    y, predicted, groups = rng.integers(0, 3, 40), rng.integers(0, 3, 40), np.repeat(np.arange(8), 5)
    agreed = np.array([(np.roll(y, shift) == predicted).sum() for shift in range(40)])
    found = Scores.of(y, predicted, 3, Resampling.of_groups(groups)).p_value
    assert found == pytest.approx((agreed >= agreed[0]).mean())


def test_a_code_length_is_what_the_blocks_cost():
    """By hand: the first block uniformly, each next one by a probe that was fitted to all before it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 3))
    y = (x[:, 0] + 0.5 * rng.standard_normal(1000) > 0).astype(int)
    order = np.argsort(np.random.default_rng(0).permutation(1000))
    ends = [1, 2, 4, 8, 16, 32, 62, 125, 250, 500, 1000]
    bits = 1.0
    for start, stop in pairwise(ends):
        before, block = order[:start], order[start:stop]
        if len(np.unique(y[before])) < 2:
            counts = np.bincount(y[before], minlength=2) + 1
            bits -= np.log2(counts[y[block]] / counts.sum()).sum()
        else:
            p = LogisticRegression(tol=1e-10).fit(x[before], y[before]).predict_proba(x[block])
            bits -= np.log2(p[np.arange(len(block)), y[block]]).sum()
    found = description_length(LogisticProbe(tol=1e-6), x, y)
    assert found.bits[0] == pytest.approx(bits, rel=1e-3)
    assert found.compression[0] == pytest.approx(1000 / bits, rel=1e-3)
    many = description_length(LogisticProbe(tol=1e-6), x, np.stack([y, rng.permutation(y)], 1))
    assert many.bits[0] == pytest.approx(bits, rel=1e-3)
    assert many.compression[1] < 1.01


def test_a_class_that_comes_late_costs_no_more_than_its_row():
    """The others are told by the probe meanwhile, and not by their frequencies."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 4))
    y = np.digitize(x[:, 0], [-0.5, 0.5])
    without = description_length(LogisticProbe(), x, y).bits[0]
    order = np.argsort(np.random.default_rng(0).permutation(2000))
    late = y.copy()
    late[order[1500]] = 3
    found = description_length(LogisticProbe(), x, late)
    assert without < found.bits[0] < without + 30
    assert found.uniform_bits[0] == 4000


def test_documents_are_sent_whole():
    """A label that is one document's own is told by nothing that other documents show."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 60)
    x = rng.standard_normal((40, 64))[groups] + 0.1 * rng.standard_normal((2400, 64))
    y = (rng.random(40) < 0.5).astype(int)[groups]
    assert description_length(LogisticProbe(), x, y).compression[0] > 2
    assert description_length(LogisticProbe(), x, y, groups=groups).compression[0] < 1.2


@pytest.fixture(scope="module")
def material():
    """Forty documents of words; a label that the rows hold, one that the word tells, one that nothing tells."""
    rng = np.random.default_rng(0)
    n = 4000
    groups, types = np.repeat(np.arange(40), 100), rng.integers(0, 300, n)
    words = rng.standard_normal((300, 16))
    hidden = rng.standard_normal((n, 3))
    x = np.column_stack([words[types], hidden]).astype(np.float32)
    labels = {
        "held": hidden[:, 0] > 0.8,
        "word": types % 3 == 0,
        "nothing": rng.random(n) < 0.3,
        "four": np.digitize(hidden[:, 1], [-1, 0, 1]),
        "by document": groups % 2 == 0,
        "constant": np.zeros(n, int),
    }
    return x, labels, groups, types


@pytest.fixture(scope="module")
def report(material):
    x, labels, groups, types = material
    other = np.random.default_rng(5).standard_normal(x.shape).astype(np.float32)
    table = probe_report(LogisticProbe(), x, labels, groups=groups, types=types, random_X=other)
    return table.set_index(["label", "variant"])


def test_every_control_stands_beside_every_label(material, report):
    assert report.index.tolist() == [(name, variant) for name in material[1] for variant in VARIANTS]


def test_what_the_rows_hold_is_told_from_what_the_word_tells(report):
    accuracy = report["accuracy"]
    assert accuracy["held", "probe"] > 0.95 > accuracy["held", "random subject"]
    assert report.loc[("held", "probe"), "selectivity"] > 0.15
    assert accuracy["word", "type alone"] > 0.99
    assert accuracy["word", "probe"] - accuracy["word", "type alone"] <= 0
    assert report.loc[("held", "probe"), "compression"] > 2 > report.loc[("held", "control task"), "compression"]
    assert report.loc[("held", "probe"), "auroc"] > 0.99
    assert abs(report.loc[("held", "shuffled labels"), "auroc"] - 0.5) < 0.1


def test_what_nobody_can_tell_is_told_by_nothing(report):
    nothing = report.loc["nothing"]
    assert nothing.loc["probe", "p_value"] > 0.01
    assert nothing.loc["probe", "accuracy_low"] <= nothing.loc["majority", "accuracy_high"]
    assert nothing.loc["probe", "compression"] < 1.2  # of .3 the entropy is .88


def test_several_classes_are_reported_too(report):
    four = report.loc["four"]
    assert four.loc["probe", "classes"] == 4
    assert four.loc["probe", "accuracy"] > 0.8 > four.loc["majority", "accuracy"]
    assert np.isnan(four.loc["probe", "auroc"])


def test_what_cannot_be_computed_says_why(material, report):
    assert (report.loc["constant", "note"] == "no probe: the rows to fit on have one class only").all()
    assert report.loc["constant", "accuracy"].isna().all()
    assert report.loc["by document", "note"].str.startswith("the label is the same on all rows of each group").all()
    x, labels, groups, _ = material
    bare = probe_report(MassMeanProbe(), x, {"held": labels["held"]}, groups=groups).set_index("variant")
    assert bare.loc["control task", "note"].startswith("no types were given")
    assert bare.loc["type alone", "note"].startswith("no types were given")
    assert bare.loc["random subject", "note"].startswith("no rows of a randomly initialised subject")
    assert bare["bits"].isna().all()  # a direction has no probabilities


def test_any_classifier_can_be_reported_on(material, report):
    x, labels, groups, types = material
    theirs = probe_report(LogisticRegression(max_iter=2000), x, {"held": labels["held"]}, groups=groups, types=types)
    ours = report.loc["held"]
    theirs = theirs.set_index("variant")
    for variant in ("probe", "control task", "shuffled labels", "type alone", "majority"):
        assert theirs.loc[variant, "accuracy"] == pytest.approx(ours.loc[variant, "accuracy"], abs=0.01)
    assert theirs.loc["probe", "bits"] == pytest.approx(ours.loc["probe", "bits"], rel=0.02)


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        ({}, {}, "no labels were given"),
        ({"a": np.zeros(9)}, {}, "a has 9 rows, but X has 10"),
        ({"a": np.zeros((10, 2))}, {}, "the labels 'a' have shape"),
        ({"a": np.linspace(0, 1, 10)}, {}, "the labels 'a' are no classes"),
        ({"a": np.arange(10)}, {"types": np.zeros(3)}, "types has 3 rows"),
        ({"a": np.arange(10)}, {"random_X": np.zeros((3, 2))}, "random_X has 3 rows"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(labels, more, message):
    with pytest.raises(ValueError, match=message):
        probe_report(LogisticProbe(), np.zeros((10, 2)), labels, **more)


def test_a_label_is_told_the_same_whatever_else_is_reported(material):
    """Also by a perceptron: labels must not share its hidden layer with their controls."""
    x, labels, groups, types = material
    options = {"groups": groups, "types": types, "code_length": False}
    probe = MLPProbe(hidden=8, max_epochs=3)
    alone = probe_report(probe, x, {"held": labels["held"]}, **options)
    among = probe_report(probe, x, labels, **options)
    pd.testing.assert_frame_equal(alone, among[among["label"] == "held"].reset_index(drop=True))


def test_what_cannot_be_reported_is_one_sentence(material):
    x, labels, groups, _ = material
    with pytest.raises(ValueError, match="have 4,000 classes: at most 100 can be reported"):
        probe_report(LogisticProbe(), x, {"row": np.arange(len(x))})
    leaky = Split(np.arange(3000), np.arange(2950, 4000))
    with pytest.raises(ValueError, match="no group may have both"):
        probe_report(LogisticProbe(), x, labels, groups=groups, rows=leaky)


@pytest.mark.parametrize("missing", [np.nan, None])
def test_rows_without_a_label_are_named(material, missing):
    x, _, groups, _ = material
    values = np.array(["a", "b"], object)[np.arange(len(x)) % 2] if missing is None else np.arange(len(x)) % 2.0
    values[[3, 8]] = missing
    with pytest.raises(ValueError, match=r"the label 'part' is missing \(NaN or None\) in 2 of 4,000 rows \(3, 8\)"):
        probe_report(LogisticProbe(), x, {"part": values}, groups=groups)
    with pytest.raises(ValueError, match=r"y is missing \(NaN or None\) in 2 of 4,000 rows \(3, 8\)"):
        LogisticProbe().fit(x, values)


def test_few_groups_and_few_rows_of_a_class_are_told():
    rng = np.random.default_rng(0)
    x, groups = rng.standard_normal((400, 3)), np.repeat(np.arange(8), 50)
    y = (x[:, 0] > 2.1).astype(int)
    note = probe_report(LogisticProbe(), x, {"rare": y}, groups=groups, code_length=False)["note"].iloc[0]
    assert "only 2 groups to judge by" in note
    assert "a class has only" in note
