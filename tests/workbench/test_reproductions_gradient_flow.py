"""Gradients against distance, where the answer can be written down."""

import numpy as np
import pytest
import torch

from models.recurrent import Recurrent, RecurrentConfig
from workbench.reproductions.gradient_flow import (
    MEMORY,
    decay_per_step,
    gradient_against_distance,
    gradients,
    scalar_gradient_error,
    with_open_gates,
)


def small(cell, **kwargs):
    return Recurrent(RecurrentConfig(cell=cell, d_model=5, d_in=2, d_out=2, seed=3, **kwargs))


@pytest.mark.parametrize("w", [0.5, 1.0, 1.1])
def test_a_scalar_linear_network_s_gradient_is_a_power_of_its_weight(w):
    assert scalar_gradient_error(w, 100) < 1e-12


def test_a_weight_for_which_the_network_is_not_linear_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        scalar_gradient_error(-0.5, 10)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_gradients_are_those_of_finite_differences(cell):
    model, x = small(cell, dtype=torch.float64), torch.randn(1, 6, 2, dtype=torch.float64)
    name, step, unit, eps = MEMORY[cell], 2, 3, 1e-6

    def nudged(by):
        def edit(value, hook):
            if hook.ctx["t"] == step:
                value = value.clone()
                value[:, 0, unit] += by
            return value

        with torch.no_grad():
            return model.run_with_hooks(x, fwd_hooks=[(name, edit)])[0, -1, 0].item()

    got = gradients(model, x, name, lambda output: output[:, -1, 0])[0, step, unit]
    assert got.item() == pytest.approx((nudged(eps) - nudged(-eps)) / (2 * eps), rel=1e-6)
    assert abs(got.item()) > 1e-6


def test_measuring_leaves_the_model_as_it_was():
    model = small("gru").requires_grad_(False)
    gradient_against_distance(model, torch.randn(3, 4, 2), MEMORY["gru"], lambda output: output[:, -1, 0])
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None
        assert not parameter.requires_grad
    assert not any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values())


def test_the_curve_starts_at_the_last_step_and_goes_back():
    model, x = small("rnn"), torch.randn(7, 9, 2)
    norms = gradients(model, x, MEMORY["rnn"], lambda output: output[:, -1, 1]).norm(dim=-1)
    curve = gradient_against_distance(model, x, MEMORY["rnn"], lambda output: output[:, -1, 1])
    assert curve.shape == (9,)
    assert curve[0] == 0
    assert curve[8] == pytest.approx(float((norms[:, 0].log() - norms[:, 8].log()).mean()))


def test_the_factor_of_an_exponential_is_found():
    assert decay_per_step(2 + np.log(0.9) * np.arange(50)) == pytest.approx(0.9)


def test_opened_gates_are_the_forget_gates_alone():
    model, x = small("lstm"), torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0))
    _, before = model.run_with_cache(x)
    _, after = with_open_gates(model).run_with_cache(x)
    assert after["blocks.0.rnn.hook_f"][:, 0].min() > 0.8
    for gate in ("i", "g", "o"):
        name = f"blocks.0.rnn.hook_{gate}"
        torch.testing.assert_close(after[name][:, 0], before[name][:, 0])
    assert before["blocks.0.rnn.hook_f"][:, 0].max() < 0.8
