"""`MLP`: PyTorch's layers one after the other, over vectors and over whole sequences of tokens."""

import pytest
import torch
from torch import nn

from models import MLP, MLPConfig, TrainConfig, load_model, save_model, train
from models.tasks.modular_addition import ModularAddition

ACTIVATIONS = {"relu": nn.ReLU(), "gelu": nn.GELU(), "tanh": nn.Tanh()}
BOTH = pytest.mark.parametrize("over", ["vectors", "tokens"])


def subject(over, **kwargs):
    reads = {"d_in": 3, "d_out": 5} if over == "vectors" else {"d_vocab": 7, "d_model": 4, "n_ctx": 6, "d_out": 5}
    return MLP(MLPConfig(**({"n_layers": 2, "d_mlp": 8, "dtype": torch.float64} | reads | kwargs)))


def given(over, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if over == "vectors":
        return torch.randn(4, 6, 3, generator=generator, dtype=torch.float64)
    return torch.randint(7, (4, 6), generator=generator)


def read(model, values):
    """What the first layer reads: the vectors, or the embeddings side by side."""
    return (
        values
        if values.is_floating_point()
        else torch.stack([model.embed.W_E[row].flatten() for row in values])[:, None]
    )


@BOTH
@pytest.mark.parametrize("act_fn", list(ACTIVATIONS))
def test_output_and_hooks_are_those_of_pytorchs_layers(over, act_fn):
    model = subject(over, act_fn=act_fn)
    output, cache = model.run_with_cache(given(over))
    x = read(model, given(over))
    for layer, block in enumerate(model.blocks):
        pre = x @ block.mlp.W_in + block.mlp.b_in
        x = ACTIVATIONS[act_fn](pre)
        torch.testing.assert_close(cache[f"blocks.{layer}.mlp.hook_pre"], pre)
        torch.testing.assert_close(cache[f"blocks.{layer}.mlp.hook_post"], x)
    torch.testing.assert_close(output, x @ model.unembed.W_U + model.unembed.b_U)
    assert output.shape == ((4, 6, 5) if over == "vectors" else (4, 1, 5))


def test_positions_of_vectors_do_not_see_each_other():
    model, values = subject("vectors"), given("vectors")
    torch.testing.assert_close(model(values)[:, 2:3], model(values[:, 2:3]))


def test_every_token_matters_to_the_one_answer():
    model, tokens = subject("tokens"), given("tokens")
    for t in range(6):
        other = tokens.clone()
        other[:, t] = (other[:, t] + 1) % 7
        assert ((model(other) - model(tokens)).abs().amax((1, 2)) > 1e-9).all()


def test_only_the_last_column_of_targets_is_compared():
    model, tokens = subject("tokens"), given("tokens")
    targets = torch.full((4, 6), -100)
    targets[:, -1] = torch.tensor([0, 1, 4, -100])
    logits, loss = model(tokens, targets=targets, return_type="both")
    expected = nn.functional.cross_entropy(logits[:3, 0], targets[:3, -1])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(model(tokens, targets=targets, return_type="loss"), expected)
    targets[:, 0] = 3
    torch.testing.assert_close(model(tokens, targets=targets, return_type="loss"), expected)
    per_token = model(tokens, targets=targets, return_type="loss", loss_per_token=True)
    assert per_token.shape == (4, 1)
    torch.testing.assert_close(per_token.sum() / 3, expected)


def test_regression_over_vectors_leaves_padding_out():
    model, values = subject("vectors"), given("vectors")
    targets, mask = (
        given("vectors", seed=1).repeat(1, 1, 2)[..., :5],
        torch.arange(6) < torch.tensor([[6], [3], [1], [6]]),
    )
    loss = model(values, targets=targets, mask=mask, return_type="loss")
    torch.testing.assert_close(loss, (model(values) - targets)[mask].square().mean())


@BOTH
def test_an_edited_neuron_changes_the_answer_as_its_gradient_says(over):
    model, values, name = subject(over, act_fn="tanh"), given(over), "blocks.0.mlp.hook_post"
    targets = torch.zeros(4, 6, dtype=torch.int64)
    _, cache = model.run_with_cache(values, incl_bwd=True, targets=targets, return_type="loss")
    direction = 1e-5 * torch.randn(cache[name].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    up, down = (
        model.run_with_hooks(
            values, targets=targets, return_type="loss", fwd_hooks=[(name, lambda v, hook, s=s: v + s * direction)]
        ).item()
        for s in (1, -1)
    )
    assert (up - down) / 2 == pytest.approx((cache[f"{name}_grad"] * direction).sum().item(), rel=1e-6)


@BOTH
def test_a_saved_model_gives_the_same_output(over, tmp_path):
    model = subject(over)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, MLP)
    assert loaded.cfg == model.cfg
    assert torch.equal(loaded(given(over)), model(given(over)))


def test_a_seed_gives_the_same_weights_and_another_gives_others():
    values = given("vectors")
    assert torch.equal(subject("vectors", seed=1)(values), subject("vectors", seed=1)(values))
    assert not torch.allclose(subject("vectors", seed=1)(values), subject("vectors", seed=2)(values))


def test_a_short_training_learns_sums_by_heart(tmp_path):
    task = ModularAddition(p=7, train_share=0.6)
    data = task.dataset()
    model = MLP(MLPConfig(d_mlp=32, d_model=8, **task.shape))
    train(model, data, TrainConfig(n_steps=150, lr=1e-2, warmup_steps=5, weight_decay=0), tmp_path, task=task)
    batch = data.batch(data.sequences("train"))
    assert task.accuracy(load_model(tmp_path)(batch["input"]), batch) == 1.0


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"act_fn": "swish"}, "act_fn 'swish' is unknown: there are relu, gelu, tanh"),
        ({"d_mlp": 0}, "d_mlp is 0: it must be at least 1"),
        ({"d_vocab": 7}, "give either d_vocab, for tokens, or d_in, for vectors"),
        ({"d_out": None}, "give d_out"),
        ({"d_in": None, "d_vocab": 7}, "give d_model and n_ctx"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        subject("vectors", **fields)


def test_input_that_does_not_fit_is_refused():
    vectors, tokens = subject("vectors"), subject("tokens")
    for model, value, sentence in (
        (vectors, given("tokens"), r"the input must be numbers \[batch, pos, 3\]"),
        (vectors, given("vectors") * torch.nan, "NaN or infinite"),
        (tokens, given("vectors"), "tokens must be integers"),
        (tokens, given("tokens") + 3, "but the vocabulary is 0 to 6"),
        (tokens, given("tokens")[:, :5], "sequences are of 5 tokens, but this model takes exactly 6"),
    ):
        with pytest.raises(ValueError, match=sentence):
            model(value)
    with pytest.raises(ValueError, match="a loss needs targets"):
        tokens(given("tokens"), return_type="loss")
    nothing_last = torch.full((4, 6), -100)
    nothing_last[:, 0] = 1
    with pytest.raises(ValueError, match="ask nothing at the last position"):
        tokens(given("tokens"), targets=nothing_last, return_type="loss")
    with pytest.raises(ValueError, match=r"the mask must be bool \[4, 6\]"):
        tokens(given("tokens"), mask=torch.ones(4, 5, dtype=torch.bool))
