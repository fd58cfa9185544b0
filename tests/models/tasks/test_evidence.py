"""Evidence: the answer is what the inputs, added one by one, come to."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
from labelled_examples import examples_of

from models.tasks import NOTHING, ClassEvidence, SignedEvidence


@pytest.mark.parametrize("objective", ["total", "sign"])
def test_the_total_is_the_sum_of_the_inputs(objective):
    task = SignedEvidence(n_steps=30, objective=objective)
    for example in examples_of(task.dataset(30, seed=1)):
        totals = [x / 30**0.5 for x in accumulate(x for (x,) in example.tokens)]
        assert [row["total"] for row in example.labels] == pytest.approx(totals)
        assert [row["positive"] for row in example.labels] == [total > 0 for total in totals]
        assert len({row["drift"] for row in example.labels}) == 1
        if objective == "total":
            assert [x for (x,) in example.targets] == pytest.approx(totals, rel=1e-5, abs=1e-6)
        else:
            assert example.targets == [NOTHING] * 29 + [int(totals[-1] > 0)]


@pytest.mark.parametrize("n_steps", [10, 200])
def test_totals_at_the_end_spread_as_said_however_many_the_steps(n_steps):
    task = SignedEvidence(n_steps=n_steps, max_drift=0, noise=0.5)
    end = task.draw(4000, np.random.default_rng(0)).truth["total"][:, -1]
    assert end.mean() == pytest.approx(0, abs=0.03)
    assert end.std() == pytest.approx(0.5, rel=0.05)
    noiseless = replace(task, max_drift=2.0, noise=0).draw(4000, np.random.default_rng(0)).truth
    assert noiseless["total"][:, -1] == pytest.approx(noiseless["drift"][:, -1], abs=1e-5)
    assert np.abs(noiseless["drift"]).max() == pytest.approx(2, rel=0.01)


def test_a_total_counts_by_its_sign():
    task = SignedEvidence()
    batch = task.batch(20, 0)
    assert task.accuracy(batch["targets"] * 7, batch) == 1
    assert task.accuracy(-batch["targets"], batch) == 0


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_leader_has_the_largest_sum_and_a_tie_is_not_asked(every_step, noise):
    task = ClassEvidence(n_classes=4, n_steps=12, noise=noise, every_step=every_step)
    n_ties = 0
    for example in examples_of(task.dataset(60, seed=2)):
        totals = np.zeros(4)
        for t, (shown, row) in enumerate(zip(example.tokens, example.labels, strict=True)):
            totals += np.array(shown)
            assert [row[f"total_{k}"] for k in range(4)] == pytest.approx(totals.tolist(), abs=1e-9)
            best = [k for k in range(4) if totals[k] == totals.max()]
            n_ties += len(best) > 1
            assert row["leader"] == (best[0] if len(best) == 1 else None)
            asked = (every_step or t == 11) and len(best) == 1
            assert example.targets[t] == (best[0] if asked else NOTHING)
            if noise == 0:
                assert sorted(shown) == [0, 0, 0, 1]
    assert (n_ties > 0) == (noise == 0)


def test_coherence_makes_one_class_lead_and_classes_come_alike():
    def margin(coherence: float) -> float:
        truth = ClassEvidence(coherence=coherence).draw(300, np.random.default_rng(0)).truth
        totals = np.sort(np.stack([truth[f"total_{k}"][:, -1] for k in range(3)]), axis=0)
        return float((totals[2] - totals[1]).mean())

    assert margin(1.0) == pytest.approx(50, rel=0.1)
    assert margin(0.0) < margin(0.2) < margin(0.5) < margin(1.0)
    leader = ClassEvidence().draw(3000, np.random.default_rng(0)).truth["leader"][:, -1]
    assert np.bincount(leader.compressed()) == pytest.approx(1000, rel=0.1)
