"""What is measured of subjects of repeated sequences."""

import pytest
import torch

from models.compiled import compiled_induction
from models.tasks.repeated_sequences import RepeatedSequences
from workbench.reproductions.induction_heads import loss_without_head, measure
from workbench.reproductions.induction_measures import repeat_loss

TASK = RepeatedSequences(n_symbols=20, min_period=5, max_period=8, max_prefix=3, n_ctx=24)


def test_in_the_compiled_circuit_the_heads_and_what_they_are_worth_are_known():
    model, _ = compiled_induction(21, 24)
    tokens = TASK.dataset(30).tokens
    found, heads = measure(model, tokens, TASK)
    assert found["repeat_loss"] < 0.01
    for name in ("prefix_matching", "previous_token", "copying"):
        assert found[name] == pytest.approx(1, abs=1e-3), name
    assert found["k_composition"] > found["random_k_composition"]
    assert found["removed"] > 0.8
    assert found["removed_by_another"] == pytest.approx(0, abs=1e-6)
    assert heads.loc[heads["previous_token"] > 0.9, ["layer", "head"]].to_numpy().tolist() == [[0, 0], [1, 2]]


@torch.no_grad()
def test_a_head_is_ablated_by_its_mean_at_each_position():
    model, _ = compiled_induction(21, 24)
    tokens = TASK.dataset(30).tokens

    def mean(z, hook):
        z[:, 1:, 0] = z[:, 1:, 0].mean(0)  # at the first position, BOS, there is nothing to average
        return z

    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_z", mean)]):
        want = repeat_loss(model, tokens, TASK)
    assert loss_without_head(model, tokens, TASK, 0, 0) == pytest.approx(want, rel=1e-5)
    assert want > 1
