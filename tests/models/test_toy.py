"""`SuperpositionModel`: the paper's formulas, its closed forms, and the optimum that is known."""

import math

import pytest
import torch

from models import SuperpositionModel, SuperpositionModelConfig, TrainConfig, load_model, save_model, train
from models.tasks.sparse_features import SparseFeatures


def subject(**kwargs):
    return SuperpositionModel(
        SuperpositionModelConfig(
            **({"d_in": 5, "d_model": 2, "importance_decay": 0.7, "dtype": torch.float64} | kwargs)
        )
    )


def features(seed=0):
    return torch.rand(6, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("linear", [False, True])
def test_output_and_loss_are_the_papers(linear):
    model, x = subject(linear=linear), features()
    model.b.data += torch.tensor([0.1, -0.3, 0.2, 0.0, -0.1], dtype=torch.float64)
    (out, loss), cache = model.run_with_cache(x, return_type="both")
    total = 0.0
    for row in x.flatten(0, 1):
        hidden = model.W @ row
        expected = model.W.T @ hidden + model.b
        expected = expected if linear else expected.clamp(min=0)
        total += sum(0.7**i * (row[i] - expected[i]) ** 2 for i in range(5)) / 18
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(out[-1, -1], expected)
    torch.testing.assert_close(cache["hook_hidden"][-1, -1], hidden)
    torch.testing.assert_close(cache["hook_out"], out)
    assert (out < 0).any() == linear


def test_padding_does_not_count_and_targets_may_be_others():
    model, x, other = subject(), features(), features(1)
    mask = torch.arange(3) < torch.tensor([3, 1, 2, 3, 3, 1])[:, None]
    per_token = model(x, mask=mask, targets=other, return_type="loss", loss_per_token=True)
    assert (per_token[~mask] == 0).all()
    expected = ((model(x) - other).square() * model.importance).sum(-1)
    torch.testing.assert_close(per_token[mask], expected[mask])
    torch.testing.assert_close(model(x, mask=mask, targets=other, return_type="loss"), expected[mask].mean())


def polygon(n, scale=1.0):
    """n unit vectors at equal angles in the plane, as columns."""
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return scale * torch.stack([angle.cos(), angle.sin()])


@pytest.mark.parametrize(
    ("W", "dimensionality", "per_feature"),
    [
        (torch.eye(2, 5, dtype=torch.float64), [1, 1, 0, 0, 0], 1),  # two features, orthogonal; the others left out
        (torch.tensor([[1.0, -1, 0, 0, 0], [0, 0, 1, -1, 0]]).double(), [0.5, 0.5, 0.5, 0.5, 0], 0.5),
        (polygon(5), [0.4] * 5, 0.4),
        (torch.cat([polygon(3), torch.zeros(2, 2)], 1), [2 / 3, 2 / 3, 2 / 3, 0, 0], 2 / 3),
        (polygon(5, scale=0.5), [0.4] * 5, 1.6),  # how long the vectors are is D*'s affair alone
    ],
)
def test_dimensionality_of_known_shapes(W, dimensionality, per_feature):
    model = subject()
    model.W.data = W
    torch.testing.assert_close(model.dimensionality(), torch.tensor(dimensionality, dtype=torch.float64))
    torch.testing.assert_close(model.feature_norms(), W.norm(dim=0))
    assert float(model.dimensions_per_feature()) == pytest.approx(per_feature)


def test_dimensionalities_add_up_to_the_rank():
    """Where the features span the hidden space evenly they share it out among themselves, whole."""
    assert float(subject().dimensionality().sum()) <= 2 + 1e-9
    model = subject(d_in=7)
    model.W.data = polygon(7)
    assert float(model.dimensionality().sum()) == pytest.approx(2)


def test_initial_weights_are_glorots_and_come_from_the_seed():
    model = subject(d_in=400, d_model=300, seed=3)
    assert model.W.std().item() == pytest.approx(math.sqrt(2 / 700), rel=0.02)
    assert model.W.mean().item() == pytest.approx(0, abs=1e-3)
    assert not model.b.any()
    assert torch.equal(model.W, subject(d_in=400, d_model=300, seed=3).W)
    assert not torch.equal(model.W, subject(d_in=400, d_model=300, seed=4).W)


@pytest.mark.parametrize("name", ["hook_hidden", "hook_out"])
def test_hooked_gradients_are_finite_differences(name):
    model, x = subject(), features()
    _, cache = model.run_with_cache(x, incl_bwd=True, return_type="loss")
    direction = 1e-6 * torch.randn(cache[name].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    up, down = (
        model.run_with_hooks(x, return_type="loss", fwd_hooks=[(name, lambda v, hook, s=s: v + s * direction)]).item()
        for s in (1, -1)
    )
    assert (up - down) / 2 == pytest.approx((cache[f"{name}_grad"] * direction).sum().item(), rel=1e-5)


def test_dense_features_are_learned_by_importance_and_the_rest_is_left_out(tmp_path):
    """Without ReLU the optimum is known: the m most important features whole, and the mean of the others."""
    task = SparseFeatures(n_features=5, sparsity=0.0)
    model = SuperpositionModel(SuperpositionModelConfig(d_model=2, linear=True, importance_decay=0.5, **task.shape))
    config = TrainConfig(
        n_steps=700, batch_size=256, lr=3e-2, warmup_steps=1, weight_decay=0, fresh=True, eval_every=700
    )
    train(model, task.dataset(16, 16), config, tmp_path, task=task)
    loaded = load_model(tmp_path)
    x = task.batch(4096, seed=1)
    unexplained = sum(0.5**i for i in (2, 3, 4)) / 12  # of a feature between 0 and 1 the variance is 1/12
    assert loaded(**x, return_type="loss").item() == pytest.approx(unexplained, rel=0.05)
    torch.testing.assert_close(loaded.feature_norms(), torch.tensor([1.0, 1, 0, 0, 0]), atol=0.1, rtol=0)
    assert float(loaded.dimensions_per_feature()) == pytest.approx(1, abs=0.1)


def test_a_saved_model_gives_the_same_output(tmp_path):
    model = subject(linear=True)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, SuperpositionModel)
    assert loaded.cfg == model.cfg
    assert torch.equal(loaded(features(), return_type="loss"), model(features(), return_type="loss"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"d_model": 0}, "d_model is 0: it must be at least 1"),
        ({"importance_decay": 0.0}, "it must be above 0 and at most 1"),
        ({"importance_decay": 1.1}, "it must be above 0 and at most 1"),
        ({"d_out": 4}, "d_out is 4, but the 5 features that go in are to be given back"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject(**fields)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"input": features()[..., :4]}, r"the input must be numbers \[batch, pos, 5\]"),
        ({"input": features() * torch.nan}, "NaN or infinite"),
        ({"input": features()[:0]}, "the input is empty"),
        ({"mask": torch.ones(6, 2, dtype=torch.bool)}, r"the mask must be bool \[6, 3\]"),
        ({"targets": features()[:, :2]}, r"targets are \[6, 2, 5\], but the output is \[6, 3, 5\]"),
        ({"return_type": "losses"}, "return_type 'losses' is unknown"),
    ],
)
def test_input_that_does_not_fit_is_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject()(**({"input": features(), "return_type": "loss"} | given))
