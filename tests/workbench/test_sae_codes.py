"""The sparse products against dense ones, and their gradients against finite differences."""

import pytest
import torch

from workbench.sae import SAEConfig, SAETrainConfig, TopK, TopKCodes, build_sae, encoding, products, reconstruction
from workbench.sae.base import TrainingStep


def random_parameters(n=7, d=5, latents=30, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (n, d), "W_enc": (d, latents), "b_enc": (latents,), "b_dec": (d,), "W_dec": (latents, d)}
    return {
        name: torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for name, shape in shapes.items()
    }


@pytest.fixture(params=[0.0, 0.2, 1.1], ids=["dense route", "by density", "sparse route"])
def dense_above(request, monkeypatch):
    monkeypatch.setattr(products, "DENSE_ABOVE", request.param)


@pytest.mark.usefixtures("dense_above")
def test_encode_and_decode_pass_gradcheck():
    p = random_parameters()

    def reconstruct(x, W_enc, b_enc, b_dec, W_dec):
        return reconstruction.decode_sparse(encoding.encode_topk(x, W_enc, b_enc, b_dec, 4), W_dec)

    assert torch.autograd.gradcheck(reconstruct, tuple(p.values()))


@pytest.mark.usefixtures("dense_above")
def test_reconstruction_error_passes_gradcheck():
    p = random_parameters()

    def error(x, W_enc, b_enc, b_dec, W_dec):
        found = encoding.encode_topk(x, W_enc, b_enc, b_dec, 4)
        return reconstruction.reconstruction_error(x, found, W_dec, b_dec).total

    assert torch.autograd.gradcheck(error, tuple(p.values()))


def test_the_whole_loss_with_its_auxiliary_term_passes_gradcheck():
    # The residual that dead latents explain is a constant of their loss, so finite differences may not move it.
    sae = build_sae(SAEConfig(d_in=5, d_sae=20, k=3, dtype="float64"))
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    residual = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    dead = torch.arange(20) % 3 == 0

    def loss(*weights):
        values = dict(zip(["W_enc", "b_enc", "W_dec"], weights, strict=True))
        return torch.func.functional_call(
            _Auxiliary(sae), {f"sae.{name}": value for name, value in values.items()}, (x, residual, dead)
        )

    weights = [sae.W_enc, sae.b_enc, sae.W_dec]
    assert torch.autograd.gradcheck(loss, tuple(w.detach().clone().requires_grad_() for w in weights))


class _Auxiliary(torch.nn.Module):
    def __init__(self, sae):
        super().__init__()
        self.sae = sae

    def forward(self, x, residual, dead):
        return self.sae.auxiliary_loss(x, residual, dead, 4)


def dense_loss(sae, x, dead, variance, cfg):
    """The same objective in PyTorch's own dense operations, as it stands in the paper."""

    def top(pre, k):
        values, places = pre.topk(k, dim=1)
        return torch.zeros_like(pre).scatter(1, places, values.relu())

    pre = (x - sae.b_dec) @ sae.W_enc + sae.b_enc
    x_hat = top(pre, sae.cfg.k) @ sae.W_dec + sae.b_dec
    main = (x - x_hat).square().sum(1).mean()
    k_aux = cfg.aux_latents(sae.cfg.d_in)
    active = min(k_aux, int(dead.sum()))
    pre_dead = ((x - sae.b_dec.detach()) @ sae.W_enc + sae.b_enc)[:, dead]
    explained = top(pre_dead, active) @ sae.W_dec[dead]
    aux = active / k_aux * ((x - x_hat).detach() - explained).square().sum(1).mean()
    return (main + cfg.aux_coefficient * aux) / variance


def test_the_sparse_step_equals_the_dense_one():
    sae = build_sae(SAEConfig(d_in=24, d_sae=200, k=8, dtype="float64"))
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(64, 24, generator=generator, dtype=torch.float64) + 1
    with torch.no_grad():
        sae.b_enc.normal_(std=0.1, generator=generator)
        sae.b_dec.normal_(std=0.5, generator=generator)
    dead = torch.rand(200, generator=generator) < 0.3
    cfg = SAETrainConfig()
    sparse = sae.training_loss(x, x, TrainingStep(dead, 20.0, 0.0, cfg)).total
    dense = dense_loss(sae, x, dead, 20.0, cfg)
    torch.testing.assert_close(sparse, dense)
    got = torch.autograd.grad(sparse, list(sae.parameters()))
    want = torch.autograd.grad(dense, list(sae.parameters()))
    torch.testing.assert_close(got, want)


def test_selection_in_chunks_equals_selection_at_once(monkeypatch):
    p = random_parameters(n=1000, d=8, latents=64, dtype=torch.float32)
    weights = (p["W_enc"], p["b_enc"], p["b_dec"], 5)
    whole = encoding.encode_topk(p["x"], *weights)
    monkeypatch.setattr(encoding, "CHUNK_BYTES", 1)
    chunked = encoding.encode_topk(p["x"], *weights)
    assert encoding.MIN_CHUNK_ROWS < 1000
    torch.testing.assert_close(chunked.to_dense(64), whole.to_dense(64))


def test_topk_keeps_the_largest_positive_pre_activations():
    cfg = SAEConfig(d_in=3, d_sae=3, k=2)
    weights = {"W_enc": torch.eye(3), "W_dec": torch.eye(3), "b_enc": torch.zeros(3), "b_dec": torch.zeros(3)}
    sae = TopK.from_weights(cfg, weights)
    x = torch.tensor([[1.0, 3.0, 2.0], [-1.0, -2.0, 4.0]])
    kept = torch.tensor([[0.0, 3.0, 2.0], [0.0, 0.0, 4.0]])
    assert torch.equal(sae.encode(x), kept)
    found = sae.encode_sparse(x)
    assert torch.equal(found.l0(), torch.tensor([2, 1]))
    assert torch.equal(found.fire_counts(3), torch.tensor([0.0, 1.0, 2.0]))
    assert torch.equal(sae.decode(found), sae.decode(sae.encode(x)))


def test_the_decoder_bias_is_subtracted_once_and_added_once():
    cfg = SAEConfig(d_in=4, d_sae=4, k=4)
    shift = torch.tensor([1.0, -2.0, 3.0, 5.0])
    weights = {"W_enc": torch.eye(4), "W_dec": torch.eye(4), "b_enc": torch.zeros(4), "b_dec": shift}
    sae = TopK.from_weights(cfg, weights)
    x = shift + torch.tensor([[1.0, 2.0, 0.0, 3.0]])
    assert torch.equal(sae.encode(x), x - shift)
    assert torch.equal(sae(x), x)
    assert torch.equal(sae(shift[None]), shift[None])


def test_codes_survive_the_way_to_dense_and_back():
    values = torch.tensor([[0.5, 2.0], [1.0, 0.0]])
    indices = torch.tensor([[3, 0], [1, 2]])
    dense = TopKCodes(values, indices).to_dense(4)
    assert torch.equal(dense, torch.tensor([[2.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0]]))


def test_the_width_must_fit():
    sae = build_sae(SAEConfig(d_in=6, d_sae=12, k=2, hook_name="blocks.0.mlp.hook_post"))
    with pytest.raises(ValueError, match=r"width 6 \(blocks\.0\.mlp\.hook_post\).*\(3, 5\)"):
        sae.encode_sparse(torch.zeros(3, 5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 13}, "k = 13 latents cannot be active in an SAE that has 12"),
        ({"k": 0}, "needs k"),
        ({"k": None}, "needs k"),
        ({"architecture": "topkk"}, "no SAE architecture is called 'topkk': there are batchtopk, gated, jumprelu"),
        ({"d_in": 0}, "d_in is 0: it must be at least 1"),
        ({"dtype": "int8"}, "cannot be of type 'int8'"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SAEConfig(**({"d_in": 6, "d_sae": 12, "k": 2} | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_tokens": 0}, "n_tokens must be a number above zero"),
        ({"lr": -1.0}, "lr must be a number above zero"),
        ({"target_l0": float("nan")}, "target_l0 must be a number above zero, not nan"),
        ({"sparsity": float("inf")}, "sparsity must be a number that is not negative"),
        ({"warm_up": 0.6, "decay": 0.6}, "add to more than 1"),
        ({"aux_coefficient": -0.1}, "aux_coefficient must be a number that is not negative"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SAETrainConfig(**values)


def test_the_learning_rate_climbs_stays_and_falls():
    cfg = SAETrainConfig(n_tokens=1000, lr=2.0, warm_up=0.1, decay=0.2)
    assert [cfg.lr_at(t) for t in (50, 100, 500, 800, 900, 1000, 1010)] == pytest.approx([1, 2, 2, 2, 1, 0, 0])
