"""The measures of grokking, against tables whose answer is known and against plain least squares."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from models import Transformer, TransformerConfig
from models.tasks.modular_addition import ModularAddition
from workbench.reproductions import grokking
from workbench.reproductions import grokking_measures as measures

P = 11
A, B, C = torch.meshgrid(*[torch.arange(P, dtype=torch.float64)] * 3, indexing="ij")
EVERY_PAIR = torch.ones(P, P, dtype=torch.bool)


def wave(k, x, kind=torch.cos):
    return kind(2 * math.pi * k / P * x)


def explained_by(columns, y):
    """R² without an intercept, by least squares."""
    X, y = torch.stack([column.flatten() for column in columns], 1).numpy(), y.flatten().numpy()
    fitted = X @ np.linalg.lstsq(X, y)[0]
    return 1 - ((y - fitted) ** 2).sum() / (y**2).sum()


@pytest.fixture
def noise():
    return torch.randn(P, P, P, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_table_made_of_two_frequencies_is_fitted_by_them_wholly():
    logits = 3 * wave(2, A + B - C) + 4 * wave(5, A + B - C) + 7  # softmax ignores the 7
    shares = measures.trig_shares(logits)
    torch.testing.assert_close(shares, torch.tensor([0, 9 / 25, 0, 0, 16 / 25], dtype=torch.float64))
    assert measures.key_frequencies(logits) == [5, 2]
    assert measures.trig_fit(logits, [2, 5]) == pytest.approx(1)
    assert measures.trig_fit(logits, [5]) == pytest.approx(16 / 25)
    assert measures.pair_accuracy(logits, EVERY_PAIR) == 1


def test_the_fit_is_least_squares_on_the_cosines(noise):
    logits = noise + 0.3 * wave(4, A + B - C)
    columns = [wave(k, A + B - C) for k in (1, 4)]
    centred = logits - logits.mean(-1, keepdim=True)
    assert measures.trig_fit(logits, [1, 4]) == pytest.approx(explained_by(columns, centred))


def test_sines_and_differences_are_no_part_of_the_fit():
    for logits in (wave(3, A + B - C, torch.sin), wave(3, A - B - C), wave(3, A) + wave(3, C)):
        assert measures.trig_fit(logits, [1, 2, 3, 4, 5]) == pytest.approx(0, abs=1e-12)


def test_restricted_and_excluded_take_apart_what_least_squares_takes_apart(noise):
    logits = noise + wave(3, A + B - C)
    restricted, excluded = (f(logits, [3, 1]) for f in (measures.restricted_logits, measures.excluded_logits))
    a, b = A[..., 0], B[..., 0]
    waves = [wave(k, a + b, kind) for k in (1, 3) for kind in (torch.cos, torch.sin)]
    X = torch.stack([column.flatten() for column in waves], 1).numpy()
    y = logits.flatten(0, 1).numpy()
    fitted = torch.from_numpy(X @ np.linalg.lstsq(X, y)[0]).view(P, P, P)
    torch.testing.assert_close(restricted, fitted + logits.mean((0, 1)))
    torch.testing.assert_close(excluded, logits - fitted)


def test_without_its_frequencies_a_table_made_of_them_knows_nothing():
    logits = 30 * (wave(2, A + B - C) + wave(3, A + B - C))
    assert measures.pair_loss(measures.excluded_logits(logits, [2, 3]), EVERY_PAIR) == pytest.approx(math.log(P))
    torch.testing.assert_close(measures.restricted_logits(logits, [2, 3]), logits)
    by_heart = 20 * ((A + B) % P == C).double()  # every frequency alike
    assert measures.pair_accuracy(measures.excluded_logits(by_heart, [2]), EVERY_PAIR) == 1


def test_losses_and_accuracies_count_the_chosen_pairs_alone():
    logits = 50 * ((A + B) % P == C).double()
    logits[0] = 0
    row = torch.zeros(P, P, dtype=torch.bool)
    row[0] = True
    assert measures.pair_loss(logits, row) == pytest.approx(math.log(P))
    assert measures.pair_loss(logits, ~row) == pytest.approx(0, abs=1e-12)
    assert (measures.pair_accuracy(logits, row), measures.pair_accuracy(logits, ~row)) == (1 / P, 1)


def test_a_neurons_frequency_is_the_one_whose_polynomial_fits_it_best(noise):
    a, b = A[..., 0], B[..., 0]
    neurons = torch.stack(
        [
            5 + wave(4, a) * wave(4, b, torch.sin) + wave(4, b),
            wave(1, a) + wave(2, b) / 2,
            torch.full_like(a, 2),
            wave(2, a) * wave(3, b),
            noise[0],
        ],
        -1,
    )
    table = measures.neuron_frequencies(neurons)
    assert table["frequency"].tolist()[:3] == [4, 1, 0]
    assert table["explained"].tolist()[:4] == pytest.approx([1, 0.8, 0, 0], abs=1e-12)
    assert table["dead"].tolist() == [False, False, True, False, False]
    centred = noise[0] - noise[0].mean()

    def terms(k):
        of_a, of_b = ([torch.ones_like(x), wave(k, x), wave(k, x, torch.sin)] for x in (a, b))
        return [x * y for x in of_a for y in of_b][1:]

    fits = [explained_by(terms(k), centred) for k in range(1, 6)]
    assert table["explained"][4] == pytest.approx(max(fits))
    assert table["frequency"][4] == 1 + int(np.argmax(fits))


def test_the_tables_of_a_network_are_its_answers_pair_by_pair():
    task = ModularAddition(p=5)
    model = Transformer(
        TransformerConfig(
            n_layers=1, d_model=8, n_heads=2, act_fn="relu", normalization_type=None, **task.shape, initializer_range=1
        )
    )
    logits, neurons = measures.all_pairs(model, task)
    assert logits.shape == (5, 5, 5)
    assert neurons.shape == (5, 5, 32)
    out, cache = model.run_with_cache(torch.tensor([[0, 4, 3, 6]]))  # 3 + 2 =
    torch.testing.assert_close(logits[3, 2], out[0, -1, 1:6].detach().double())
    torch.testing.assert_close(neurons[3, 2], cache["post", 0][0, -1])


def test_an_embedding_of_one_circle_has_one_frequency():
    x = torch.arange(P, dtype=torch.float64)
    norms = measures.fourier_norms(torch.stack([wave(2, x), wave(2, x, torch.sin)], 1), ModularAddition(p=P))
    torch.testing.assert_close(norms, torch.tensor([0, math.sqrt(P), 0, 0, 0], dtype=torch.float64))
    assert measures.gini(norms) == pytest.approx(1 - 1 / 5)
    assert measures.gini(torch.ones(4)) == pytest.approx(0)
    assert measures.gini(torch.tensor([3.0, 1.0])) == pytest.approx(1 / 4)


@pytest.fixture
def curve():
    """Learnt by heart until 200, a circuit formed until 500, and cleaned up to 700."""
    return pd.DataFrame(
        {
            "step": [0, 100, 200, 300, 400, 500, 600, 700],
            "train_loss": [4, 1, 0, 0, 0, 0, 0, 0],
            "test_loss": [4, 9, 12, 13, 12, 5, 1, 0],
            "restricted_loss": [4, 4, 4, 3, 1, 1, 0, 0],
            "excluded_loss": [4, 1, 0.5, 1, 2, 3, 4, 5],
            "trig_fit": [0, 0, 0.1, 0.3, 0.5, 0.8, 0.9, 0.95],
            "sum_of_squares": [1, 5, 6, 6, 6, 5, 3, 2],
        }
    )


def test_a_loss_has_halved_where_it_stays_below_half_of_its_peak(curve):
    assert grokking.halved(curve, "test_loss") == 500
    assert grokking.halved(curve, "restricted_loss") == 400
    assert math.isnan(grokking.halved(curve[curve["step"] <= 400], "test_loss"))
    curve.loc[6, "test_loss"] = 10  # it comes back
    assert grokking.halved(curve, "test_loss") == 700


def test_the_three_phases_are_told_apart_by_excluded_and_test_loss(curve):
    phases = grokking.phase_table(curve)
    assert phases["phase"].tolist() == ["memorisation", "circuit formation", "cleanup"]
    assert phases["from_step"].tolist() == [0, 200, 500]
    assert phases["to_step"].tolist() == [200, 500, 700]
    assert phases["sum_of_squares_to"].tolist() == [6, 5, 2]
    unfinished = grokking.phase_table(curve[curve["step"] <= 400])
    assert unfinished["phase"].tolist() == ["memorisation", "circuit formation"]
