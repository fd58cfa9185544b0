"""`TunedPopulation`: tuning as its formulas say, counts that are Poisson's, and information that is Fisher's."""

import json
import math

import numpy as np
import pytest
import torch

from models import Dataset, TunedPopulation, TunedPopulationConfig, load_model, save_model
from models.tasks import Navigation
from models.tuned import population_dataset

KINDS = ("place", "grid", "head_direction", "linear", "mixed")
each_kind = pytest.mark.parametrize("kind", KINDS)


def population(kind="place", n=12, **more):
    return TunedPopulation(TunedPopulationConfig(**({"kind": kind, "n_neurons": n, "dtype": torch.float64} | more)))


def places(n=40, seed=0):
    """Random positions in the box and head directions."""
    rng = np.random.default_rng(seed)
    heading = rng.uniform(-np.pi, np.pi, n)
    at = rng.uniform(-1.1, 1.1, (n, 2))
    return torch.tensor(np.column_stack([at, np.cos(heading), np.sin(heading)]))


def walks(n=6, n_steps=40):
    return Navigation(n_steps=n_steps).dataset(n, 2, seed=3)


def test_place_cells_are_gaussian_bumps():
    model, x = population("place", width=0.3, max_rate=15.0, background=0.5), places()
    centres = model.field.centres
    distance = torch.cdist(x[:, :2], centres)
    torch.testing.assert_close(model.rates(x), 0.5 + 14.5 * torch.exp(-(distance**2) / 0.18))
    at_home = torch.cat([centres, torch.ones(12, 2).double()], 1)
    assert model.rates(at_home).diagonal().tolist() == pytest.approx([15.0] * 12)
    assert centres.abs().max() <= 1.1


def test_head_direction_cells_are_von_mises_bumps_around_the_circle():
    model = population("head_direction", concentration=3.0, background=0.0)
    angle = torch.linspace(-4, 4, 50, dtype=torch.float64)
    x = torch.stack([0 * angle, 0 * angle, angle.cos(), angle.sin()], 1)
    away = angle[:, None] - model.field.preferred
    torch.testing.assert_close(model.rates(x), 20 * torch.exp(3 * (away.cos() - 1)))


def test_linear_cells_on_a_circle_are_cosine_tuned():
    model = population("linear", d_in=2, max_rate=50.0, background=10.0)
    angle = torch.linspace(-3, 3, 50, dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    preferred = torch.atan2(model.field.encoders[:, 1], model.field.encoders[:, 0])
    torch.testing.assert_close(model.rates(x), 30 + 20 * (angle[:, None] - preferred).cos())
    assert (model.rates(-100 * model.field.encoders).diagonal() == 10).all(), "no lower than the background"


def test_mixed_cells_are_a_product():
    model, x = population("mixed", background=0.0), places()
    parts = [model.field.place, model.field.heading]
    product = math.prod(part.shape_and_slopes(x)[0] for part in parts)
    torch.testing.assert_close(model.rates(x), 20 * product)


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.8])
def test_the_peaks_of_a_grid_cell_are_exactly_its_scale_apart(scale):
    """Peaks found on a fine map, not from the formula: six neighbours at the scale, 60° from each other."""
    model = population("grid", n=3, scales=(scale,), background=0.0)
    axis = torch.arange(-1.3 * scale, 1.3 * scale, scale / 100, dtype=torch.float64)
    for cell in range(3):
        at = torch.cartesian_prod(axis, axis) + model.field.phases[cell]
        rates = model.rates(torch.cat([at, torch.ones_like(at)], 1))[:, cell].reshape(len(axis), -1)
        inner = rates[1:-1, 1:-1]
        around = [rates[1 + i : len(axis) - 1 + i, 1 + j : len(axis) - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        is_peak = (inner >= torch.stack(around).max(0).values) & (inner > 15)
        peaks = at.reshape(len(axis), len(axis), 2)[1:-1, 1:-1][is_peak] - model.field.phases[cell]
        distance = peaks.norm(dim=1)
        ring = peaks[(distance > scale / 2) & (distance < 1.5 * scale)]
        assert distance.min() < scale / 50
        assert len(ring) == 6
        assert ring.norm(dim=1).tolist() == pytest.approx([scale] * 6, rel=0.015)
        turns = torch.atan2(ring[:, 1], ring[:, 0]).sort().values.diff()
        assert turns.tolist() == pytest.approx([math.pi / 3] * 5, abs=0.03)


def test_grid_modules_share_cells_evenly_and_an_orientation_each():
    model = population("grid", n=10, scales=(0.4, 0.8))
    length = model.field.waves.norm(dim=-1)
    assert length[:5].flatten().tolist() == pytest.approx([4 * math.pi / math.sqrt(3) / 0.4] * 15)
    assert length[5:].flatten().tolist() == pytest.approx([4 * math.pi / math.sqrt(3) / 0.8] * 15)
    assert torch.equal(model.field.waves[0], model.field.waves[4])
    direction = torch.atan2(*model.field.waves[[0, 5], 0].flip(1).T)
    assert abs(float(direction.diff())) > 1e-3


@each_kind
def test_slopes_are_finite_differences(kind):
    model, x, step = population(kind), places(), 1e-6
    slopes = model.slopes(x)
    assert slopes.shape == (40, 12, len(model.variables))
    for i, variable in enumerate(model.variables):
        moved = []
        for sign in (1, -1):
            other = x.clone()
            if variable == "heading":
                angle = torch.atan2(x[:, 3], x[:, 2]) + sign * step
                other[:, 2:] = torch.stack([angle.cos(), angle.sin()], 1)
            else:
                other[:, {"x": 0, "y": 1}.get(variable, i)] += sign * step
            moved.append(model.rates(other))
        numeric = (moved[0] - moved[1]) / (2 * step)
        torch.testing.assert_close(slopes[..., i], numeric, atol=1e-5, rtol=1e-5)
        assert slopes[..., i].abs().max() > 0.1


@each_kind
def test_fisher_information_is_the_curvature_of_the_poisson_likelihood(kind):
    """Its definition: the mean squared slope of the log-likelihood, by counting over many trials."""
    model, seconds = population(kind, n=4, max_rate=5.0, background=1.0), 0.5
    x = places(1, seed=4)
    rates, slopes = model.rates(x)[0].numpy(), model.slopes(x)[0].numpy()
    counts = np.random.default_rng(0).poisson(rates * seconds, size=(400_000, 4))
    score = (counts / rates - seconds) @ slopes
    measured = score.T @ score / len(score)
    ours = model.fisher_information(x, seconds)[0].numpy()
    assert measured == pytest.approx(ours, rel=0.02, abs=0.02 * np.abs(ours).max())


def test_counts_are_poissons_around_the_rates():
    model = population("place", n=20, dt=0.1, max_rate=30.0)
    x = places(1)[None].expand(1, 20_000, -1)
    counts = model(x)[0]
    expected = model.rates(x)[0, 0] * 0.1
    assert counts.mean(0).tolist() == pytest.approx(expected.tolist(), rel=0.05, abs=0.02)
    assert counts.var(0).tolist() == pytest.approx(expected.tolist(), rel=0.08, abs=0.02)
    correlation = np.corrcoef(counts[:, expected > 0.1].T.numpy())
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.04, "cells are independent"
    assert (counts == counts.round()).all()


@each_kind
def test_the_same_sequence_has_the_same_counts_however_it_is_batched_and_padded(kind):
    model, x = population(kind, n=37, dtype=torch.float32, max_rate=40.0), places(60).reshape(3, 20, 4).float()
    whole = model(x)
    for order in ([2, 0, 1], [1]):
        assert torch.equal(model(x[order]), whole[order])
    padded = torch.cat([x, torch.ones(3, 5, 4)], 1)
    mask = (torch.arange(25) < 20).expand(3, -1)
    assert torch.equal(model(padded, mask=mask)[:, :20], whole)
    assert (model(padded, mask=mask)[:, 20:] == 0).all()
    assert not torch.equal(model(x, trial=1), whole)
    assert torch.equal(model(x, trial=1), model(x, trial=1))
    assert torch.equal(whole[0], model(x[[0, 0]])[1])
    moved = x.clone()
    moved[0, 0, 0] += 1e-3
    assert (model(moved)[0] != whole[0]).any(), "another sequence"
    assert torch.equal(model(moved)[1:], whole[1:])


def test_counts_are_drawn_from_what_a_hook_makes_of_the_rates():
    model, x = population(dt=1.0), places(40)[None]

    def silence(rates, hook):
        return rates * (torch.arange(12) % 2)

    counts = model.run_with_hooks(x, fwd_hooks=[("hook_rates", silence)])
    assert (counts[..., ::2] == 0).all()
    assert counts[..., 1::2].sum() > 0
    with pytest.raises(ValueError, match="a rate is negative"):
        model.run_with_hooks(x, fwd_hooks=[("hook_rates", lambda rates, hook: -rates)])


@pytest.mark.parametrize("output", ["counts", "rates"])
def test_output_loss_and_hooks(output):
    model, x = population(output=output), places(40).reshape(2, 20, 4)
    out, cache = model.run_with_cache(x)
    torch.testing.assert_close(cache["hook_rates"], model.rates(x))
    assert torch.equal(out, cache[f"hook_{output}"])
    targets, mask = torch.zeros_like(out), torch.arange(20) < torch.tensor([[20], [3]])
    each = model(x, targets=targets, mask=mask, return_type="loss", loss_per_token=True)
    assert each.shape == (2, 20)
    assert (each[~mask] == 0).all()
    torch.testing.assert_close(model(x, targets=targets, mask=mask, return_type="loss"), each[mask].mean())
    assert model(x, return_type=None) is None


@each_kind
def test_a_saved_population_fires_the_same_spikes(kind, tmp_path):
    model, x = population(kind, scales=(0.4, 0.7), seed=5), places(30)[None]
    assert json.loads(json.dumps(model.cfg.to_dict())) == model.cfg.to_dict()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, TunedPopulation)
    assert loaded.cfg == model.cfg
    assert torch.equal(loaded(x), model(x))
    other = population(kind, seed=6)
    assert not torch.equal(other.rates(x), model.rates(x))


def test_a_population_is_told_where_a_walker_is():
    data = walks()
    told = population_dataset(data)
    assert told.labels.equals(data.labels)
    assert told.doc_table.equals(data.doc_table)
    assert torch.equal(told.docs, data.docs)
    torch.testing.assert_close(told.tokens, data.targets)
    assert told.targets is None
    padded = Dataset(
        tokens=torch.zeros(2, 3, 1),
        mask=torch.tensor([[True, True, False], [True, True, True]]),
        labels=data.labels.slice(0, 5),
    )
    made = population_dataset(padded)
    assert (made.tokens[0, 2] == 0).all()
    torch.testing.assert_close(made.tokens[padded.mask], data.targets[0, :5])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: population("border"), "kind 'border' is unknown: there are place, grid"),
        (lambda: population(n=0), "n_neurons is 0: it must be at least 1"),
        (lambda: population("mixed", d_in=2), "d_in is 2, but mixed cells read 4 numbers"),
        (lambda: population(width=0.0), "width is 0.0: it must be above 0"),
        (lambda: population(scales=()), "there must be one at least"),
        (lambda: population(background=30.0), "background is 30.0 Hz and max_rate 20.0 Hz"),
        (lambda: population(output="spikes"), "output 'spikes' is unknown"),
        (lambda: population(d_out=3), "d_out is 3, but there are 12 cells"),
        (lambda: population()(places()[None, :, :3]), r"the input must be numbers \[batch, pos, 4\]"),
        (lambda: population()(places()[None] * math.nan), "NaN or infinite"),
        (lambda: population()(places()[None], trial=-1), "trial is -1: it must be at least 0"),
        (lambda: population_dataset(Dataset(torch.zeros(2, 3, 4))), "the dataset has no label x, y, heading"),
    ],
)
def test_what_makes_no_sense_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
