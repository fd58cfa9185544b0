"""The share of variance along principal components."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from models.recurrent import Recurrent, RecurrentConfig
from models.tasks.flip_flop import FlipFlop
from workbench.reproductions.flip_flop import explained_variance, run_trials


def test_explained_variance_is_scikit_learn_s():
    states = torch.randn(300, 6, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.arange(1.0, 7)) + 20
    np.testing.assert_allclose(explained_variance(states), PCA().fit(states.double()).explained_variance_ratio_)


def test_a_cube_has_three_dimensions():
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3) @ torch.randn(3, 16)
    explained = explained_variance(corners)
    assert explained[:3].sum() > 1 - 1e-9
    assert explained[2] > 1e-3


def test_states_are_those_of_every_step_and_accuracy_is_the_task_s():
    task = FlipFlop(n_steps=7)
    model = Recurrent(RecurrentConfig(cell="gru", d_model=16, d_in=3, d_out=3))
    trials = task.batch(5, seed=0)
    accuracy, states = run_trials(model, task, trials)
    output, cache = model.run_with_cache(trials["input"])
    assert states.shape == (35, 16)
    torch.testing.assert_close(states[7:14], cache["blocks.0.rnn.hook_h"][1])
    assert accuracy == task.accuracy(output, trials)
