"""Every architecture against its own paper's dense objective, as SAE, transcoder and crosscoder."""

from functools import cache

import pytest
import torch

from workbench.sae import SAEConfig, SAETrainConfig, build_sae, products, train_sae
from workbench.sae.base import TrainingStep
from workbench.sae.resampling import is_due, resample
from workbench.sae.sparsity import coefficient_at, first_coefficient, steered

WITH_K = ("topk", "batchtopk", "matryoshka_batchtopk")
ALL = (*WITH_K, "standard", "jumprelu", "gated")
KINDS = {
    "sae": {},
    "transcoder": {"d_out": 7},
    "skip transcoder": {"d_out": 7, "skip": True},
    "crosscoder": {"n_layers": 3},
}
N, D, F, K = 40, 10, 60, 4
TRAIN = SAETrainConfig(bandwidth=0.7, revive="aux", aux_coefficient=0.3)


def an_sae(architecture, kind="sae", seed=0, **changes):
    k = K if architecture in WITH_K else None
    shape = {"d_in": D, "d_sae": F, "dtype": "float64"} | KINDS[kind] | changes
    sae = build_sae(SAEConfig(architecture=architecture, k=k, **shape))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*sae.named_parameters(), *sae.named_buffers()]:
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.add_(0.4 * (noise.abs() if name == "threshold" else noise))
    return sae


def rows(sae, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, sae.cfg.width_in, generator=generator, dtype=torch.float64) + 0.5
    y = x if sae.cfg.d_out is None else torch.randn(N, sae.cfg.width_out, generator=generator, dtype=torch.float64)
    return x, y


class Rectangle(torch.autograd.Function):
    """The pseudo-derivatives of JumpReLU, as its paper writes them, on dense matrices."""

    @staticmethod
    def forward(ctx, z, threshold, width):
        ctx.save_for_backward(z, threshold)
        ctx.width = width
        return z * (z > threshold), (z > threshold).to(z)

    @staticmethod
    def backward(ctx, grad_f, grad_count):
        z, threshold = ctx.saved_tensors
        near = ((z - threshold) / ctx.width).abs() < 0.5
        return grad_f * (z > threshold), (-(threshold * grad_f + grad_count) * near / ctx.width).sum(0), None


def dense_codes(sae, x):
    """Activations while training, and the penalties, by PyTorch's own dense operations."""
    a = sae.cfg.architecture
    centred = x - sae.b_in
    norms = sae.decoder_norms()
    if a == "gated":
        gate = (centred @ sae.W_enc + sae.b_gate).relu()
        magnitude = (centred @ (sae.W_enc * sae.r_mag.exp()) + sae.b_mag).relu()
        return magnitude * (gate > 0), {"gate": gate, "l1": (gate * norms.detach()).sum(1).mean()}
    z = centred @ sae.W_enc + sae.b_enc
    if a == "standard":
        return z.relu(), {"l1": (z.relu() * norms).sum(1).mean()}
    if a == "jumprelu":
        f, count = Rectangle.apply(z, sae.threshold, TRAIN.bandwidth)
        return f, {"l0": count.sum(1).mean()}
    if a == "topk":
        kept = z.topk(K, dim=1)
        return torch.zeros_like(z).scatter(1, kept.indices, kept.values.relu()), {}
    kept = z.flatten().topk(N * K)
    return torch.zeros_like(z).flatten().scatter(0, kept.indices, kept.values.relu()).view_as(z), {}


def dense_loss(sae, x, y, dead, sparsity, variance):
    f, found = dense_codes(sae, x)
    skip = 0 if sae.W_skip is None else x @ sae.W_skip.T
    widths = sae.widths if sae.cfg.architecture == "matryoshka_batchtopk" else (F,)
    errors = [(y - skip - f[:, :w] @ sae.W_dec[:w] - sae.b_dec).square().sum(1).mean() for w in widths]
    total = sum(errors) / len(widths)
    for name, term in found.items():
        if name == "gate":
            fixed_skip = 0 if sae.W_skip is None else x @ sae.W_skip.detach().T
            rebuilt = term @ sae.W_dec.detach() + sae.b_dec.detach()
            total = total + (y - fixed_skip - rebuilt).square().sum(1).mean()
        else:
            total = total + sparsity * term
    residual = (y - skip - f @ sae.W_dec - sae.b_dec).detach()
    k_aux = TRAIN.aux_latents(sae.cfg.width_out)
    active = min(k_aux, int(dead.sum()))
    z = ((x - sae.b_in.detach()) @ sae.W_enc + sae.encoder_bias)[:, dead]
    kept = z.topk(active, dim=1)
    revived = torch.zeros_like(z).scatter(1, kept.indices, kept.values.relu()) @ sae.W_dec[dead]
    total = total + TRAIN.aux_coefficient * active / k_aux * (residual - revived).square().sum(1).mean()
    return total / variance


@pytest.mark.parametrize("route", [0.0, 1.1], ids=["dense route", "sparse route"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ALL)
def test_loss_and_gradients_are_those_of_the_dense_objective(architecture, kind, route, monkeypatch):
    monkeypatch.setattr(products, "DENSE_ABOVE", route)
    sae = an_sae(architecture, kind)
    x, y = rows(sae)
    dead = torch.arange(F) % 5 == 0
    loss = sae.training_loss(x, y, TrainingStep(dead, 9.0, 0.7, TRAIN))
    dense = dense_loss(sae, x, y, dead, 0.7, 9.0)
    torch.testing.assert_close(loss.total, dense)
    names = [name for name, _ in sae.named_parameters()]
    got = torch.autograd.grad(loss.total, list(sae.parameters()), allow_unused=True)
    want = torch.autograd.grad(dense, list(sae.parameters()), allow_unused=True)
    for name, a, b in zip(names, got, want, strict=True):
        a, b = (torch.zeros(()) if g is None else g for g in (a, b))
        torch.testing.assert_close(a, b.expand_as(a) if b.ndim == 0 else b, msg=name)


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize("architecture", ALL)
def test_finite_differences_agree_where_the_objective_is_smooth(architecture):
    sae = an_sae(architecture)
    x, _ = rows(sae)
    x = x[:6].clone().requires_grad_()

    def rebuilt(x, W_dec):
        return torch.func.functional_call(sae, {"W_dec": W_dec}, (x,))

    assert torch.autograd.gradcheck(rebuilt, (x, sae.W_dec.detach().clone().requires_grad_()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ALL)
def test_folding_the_scale_changes_units_and_nothing_else(architecture, kind):
    sae = an_sae(architecture, kind)
    x, _ = rows(sae)
    into = torch.rand(sae.cfg.width_in, dtype=torch.float64) + 0.5
    out = into if sae.cfg.d_out is None else torch.rand(sae.cfg.width_out, dtype=torch.float64) + 0.5
    shape = (N, 3, D) if kind == "crosscoder" else (N, -1)
    want = sae((x * into).view(shape)).flatten(1) / out
    active = sae.encode((x * into).view(shape)) > 0
    sae.fold_scale(into, out)
    torch.testing.assert_close(sae(x.view(shape)).flatten(1), want)
    assert torch.equal(sae.encode(x.view(shape)) > 0, active)
    norms = sae.W_dec.norm(dim=1)
    assert norms.mean().item() == pytest.approx(1)
    if not sae.latents_compete:
        torch.testing.assert_close(norms, torch.ones_like(norms))


def test_batchtopk_keeps_the_largest_of_the_batch_and_follows_the_smallest_kept():
    sae = an_sae("batchtopk")
    step = TrainingStep(torch.zeros(F, dtype=torch.bool), 1.0, 0.0, SAETrainConfig(threshold_lr=0.01))
    before = torch.zeros_like(sae.threshold)
    sae.threshold.zero_()
    for weight, scale in ((1.0, 1.0), (0.01, 3.0)):  # the first step sets it, later ones move it
        x = scale * rows(sae)[0]
        codes, _ = sae.activate(x, x, step)
        smallest = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).flatten().topk(N * K).values.min()
        assert len(codes.values) == N * K
        assert codes.l0().float().std() > 0
        torch.testing.assert_close(codes.values.min(), smallest)
        before = before + weight * (smallest - before)
        torch.testing.assert_close(sae.threshold, before)


@pytest.mark.parametrize("sample", [64, 1])
def test_the_largest_of_a_batch_do_not_hang_on_the_sample_that_finds_the_bar(sample, monkeypatch):
    monkeypatch.setattr("workbench.sae.encoding.SAMPLED_ROWS", sample)
    sae = an_sae("batchtopk")
    x, _ = rows(sae)
    x[0] *= 100  # a row unlike all others, which the sample starts with
    z = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).flatten()
    codes, _ = sae.activate(x, x, TrainingStep(torch.zeros(F, dtype=torch.bool), 1.0, 0.0, SAETrainConfig()))
    torch.testing.assert_close(codes.values.sort().values, z.topk(N * K).values.sort().values)


def planted(n=30_000, d=24, n_features=48, seed=1234):
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(n_features, d, generator=generator), dim=1)
    chosen = torch.rand(n, n_features, generator=generator).topk(2, dim=1).indices
    f = torch.zeros(n, n_features).scatter(1, chosen, 0.5 + torch.rand(n, 2, generator=generator))
    return features, f, 3 + 5 * (f @ features)


def endless(*tensors, size=256):
    while True:
        for parts in zip(*(t.split(size) for t in tensors), strict=True):
            yield parts if len(parts) > 1 else parts[0]


def recovered(features, directions):
    rows = torch.nn.functional.normalize(directions, dim=1)
    return (features @ rows.T).max(dim=1).values.mean().item()


@cache
def of_planted(architecture, product="float32"):
    """What is trained on planted features."""
    k = 2 if architecture in WITH_K else None
    n_tokens = 150_000 if architecture == "matryoshka_batchtopk" else 75_000
    how = SAETrainConfig(n_tokens=n_tokens, batch_size=256, lr=1e-2, target_l0=None if k else 2.5, product=product)
    return train_sae(SAEConfig(architecture=architecture, d_in=24, d_sae=64, k=k), endless(planted()[2]), how)


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize("architecture", ALL)
def test_every_architecture_finds_planted_features(architecture):
    features, _, x = planted()
    sae = of_planted(architecture)
    assert recovered(features, sae.W_dec) >= 0.9
    assert recovered(features, build_sae(sae.cfg).W_dec) <= 0.65
    l0 = sae.encode_sparse(x[:4000]).l0().float().mean().item()
    assert l0 == pytest.approx(2 if architecture in WITH_K else 2.5, rel=0.35)


@pytest.mark.usefixtures("as_in_a_script")
def test_a_transcoder_finds_what_is_computed_from_what_it_reads():
    _, f, x = planted()
    generator = torch.Generator().manual_seed(5)
    written = torch.nn.functional.normalize(torch.randn(48, 30, generator=generator), dim=1)
    linear = torch.randn(24, 30, generator=generator) / 5
    y = 7 * (f.square() @ written) + x @ linear - 2
    errors = {}
    for skip in (False, True):
        cfg = SAEConfig(d_in=24, d_sae=64, k=3, d_out=30, skip=skip)
        sae = train_sae(cfg, endless(x, y), SAETrainConfig(n_tokens=100_000, batch_size=256, lr=1e-2))
        errors[skip] = ((y - sae(x)).square().sum() / (y - y.mean(0)).square().sum()).item()
    assert recovered(written, sae.W_dec) >= 0.75
    assert recovered(written, build_sae(cfg).W_dec) <= 0.55
    assert errors[True] < errors[False] < 0.12


@pytest.mark.usefixtures("as_in_a_script")
def test_a_crosscoder_finds_a_feature_in_each_of_its_layers():
    features, f, _ = planted()
    generator = torch.Generator().manual_seed(6)
    other = torch.nn.functional.normalize(torch.randn(48, 24, generator=generator), dim=1)
    other[:8] = 0  # features that the second layer does not have
    layers = torch.stack([f @ features, 40 * (f @ other)], dim=1)
    cfg = SAEConfig(d_in=24, d_sae=64, k=2, n_layers=2)
    sae = train_sae(cfg, endless(layers), SAETrainConfig(n_tokens=75_000, batch_size=256, lr=1e-2))
    assert sae(layers[:10]).shape == (10, 2, 24)
    by_layer = sae.W_dec.unflatten(1, (2, 24))
    assert recovered(features, by_layer[:, 0]) >= 0.9
    assert recovered(other[8:], by_layer[:, 1]) >= 0.9
    best = (features @ torch.nn.functional.normalize(by_layer[:, 0], dim=1).T).argmax(dim=1)
    share = by_layer[best, 1].norm(dim=1) / (by_layer[best, 1].norm(dim=1) + 40 * by_layer[best, 0].norm(dim=1))
    assert share[:8].max() < 0.2 < 0.35 < share[8:].min()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ALL)
def test_a_resampled_latent_fires_where_the_dictionary_did_worst_and_adam_forgets_it(architecture, kind):
    sae = an_sae(architecture, kind)
    x, y = rows(sae)
    y = y if kind.endswith("transcoder") else x  # an SAE rebuilds the rows that it reads
    optimiser = torch.optim.Adam(sae.parameters(), lr=1e-3)
    dead = torch.arange(F) % 3 == 0
    step = TrainingStep(torch.zeros(F, dtype=torch.bool), 1.0, 0.1, TRAIN)
    sae.training_loss(x, y, step).total.backward()
    optimiser.step()
    before = {name: tensor.detach().clone() for name, tensor in sae.named_parameters()}
    error = y - sae.decode_rows(sae.encode_rows(x)) - (0 if sae.W_skip is None else x @ sae.W_skip.T)
    assert resample(sae, optimiser, TRAIN, x, y, dead, torch.Generator().manual_seed(0)) == 20
    for name, tensor in (("W_dec", sae.W_dec), ("W_enc", sae.W_enc.T)):
        old = before[name] if name == "W_dec" else before[name].T
        assert torch.equal(tensor[~dead], old[~dead])
        assert not torch.equal(tensor[dead], old[dead])
    moments = optimiser.state[sae.W_dec]["exp_avg_sq"]
    assert moments[dead].eq(0).all()
    assert moments[~dead].ne(0).any()
    # Each new direction is a row's; the worst row has the most weight.
    directions = torch.nn.functional.normalize(y - sae.b_dec, dim=1)
    cosines = sae.W_dec[dead] @ directions.T
    torch.testing.assert_close(cosines.max(dim=1).values, torch.ones(20, dtype=torch.float64))
    drawn = cosines.argmax(dim=1)
    assert error.square().sum(1)[drawn].mean() > error.square().sum(1).mean()
    pre = (x - sae.b_in) @ sae.W_enc + sae.encoder_bias
    assert (pre[drawn, dead.nonzero().squeeze(1)] > 0).all()


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated"])
def test_whatever_killed_a_latent_resampling_brings_it_back(architecture):
    sae = an_sae(architecture)
    x, y = rows(sae)
    dead = torch.arange(F) % 3 == 0
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            if name in ("b_enc", "b_gate", "b_mag"):
                parameter[dead] = -20
        if architecture == "jumprelu":
            sae.threshold[dead] = 20
    optimiser = torch.optim.Adam(sae.parameters(), lr=1e-3)
    sae.training_loss(x, y, TrainingStep(torch.zeros(F, dtype=torch.bool), 1.0, 0.1, TRAIN)).total.backward()
    optimiser.step()
    assert not (sae.encode(x)[:, dead] > 0).any()
    assert resample(sae, optimiser, TRAIN, x, y, dead, torch.Generator().manual_seed(0)) == 20
    assert (sae.encode(x)[:, dead] > 0).any(0).all()
    for parameter in sae.restart_latents(dead.nonzero().squeeze(1), TRAIN):
        assert optimiser.state[parameter]["exp_avg_sq"][dead].eq(0).all()


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated"])
def test_a_sparse_start_has_the_factor_of_least_squared_error(architecture):
    sae = build_sae(SAEConfig(architecture=architecture, d_in=D, d_sae=F, dtype="float64"))
    x = torch.randn(400, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.5
    sae.begin(SAETrainConfig(target_l0=2.0, threshold=1e-9), x, x.mean(0), x.mean(0))
    rebuilt = sae(x) - sae.b_dec
    best = ((x - sae.b_dec) * rebuilt).sum() / rebuilt.square().sum()
    assert best.item() == pytest.approx(1, abs=1e-6)


def test_resampling_is_due_at_three_moments_before_the_rate_falls():
    cfg = SAETrainConfig(n_tokens=1000, decay=0.2)
    due = [t for t in range(0, 1000, 10) if is_due(t, t + 10, cfg)]
    assert due == [190, 390, 590]


@pytest.mark.usefixtures("as_in_a_script")
def test_resampled_trainings_are_exact_over_a_kill(tmp_path):
    _, _, x = planted(n=8_000)
    cfg = SAEConfig(architecture="standard", d_in=24, d_sae=64)
    how = SAETrainConfig(
        n_tokens=20_000,
        batch_size=64,
        sparsity=4.0,
        dead_after=500,
        revive="resample",
        checkpoint_every_s=1e-9,
        log_every=50,
    )
    whole = train_sae(cfg, endless(x, size=64), how)

    def killed(record):
        if record["step"] >= 150:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_sae(cfg, endless(x, size=64), how, out=tmp_path, on_log=killed)
    resumed = train_sae(cfg, endless(x, size=64), how, out=tmp_path)
    assert torch.equal(whole.W_dec, resumed.W_dec)


def test_a_dictionary_that_has_died_is_stopped():
    _, _, x = planted()
    cfg = SAEConfig(architecture="standard", d_in=24, d_sae=64)
    how = SAETrainConfig(n_tokens=150_000, batch_size=256, lr=1e-2, sparsity=1e4, dead_after=2_000)
    with pytest.raises(
        ValueError, match=r"every latent is dead at step \d+: a smaller sparsity coefficient than 10000"
    ):
        train_sae(cfg, endless(x), how)


@pytest.mark.usefixtures("as_in_a_script")
def test_bfloat16_products_cost_little():
    _, _, x = planted()
    errors = {}
    for product in ("float32", "bfloat16"):
        sae = of_planted("topk", product)
        assert sae.W_enc.dtype == torch.float32
        errors[product] = ((x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()).item()
    assert errors["bfloat16"] == pytest.approx(errors["float32"], abs=0.02)
    assert errors["bfloat16"] != errors["float32"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 3, "architecture": "standard"}, "a standard SAE has no k"),
        ({"architecture": "batchtopk"}, "a batchtopk SAE needs k"),
        ({"k": 3, "d_out": 4, "n_layers": 2}, "d_out makes a transcoder and n_layers a crosscoder"),
        ({"k": 3, "skip": True}, "skip is a transcoder's linear map"),
        ({"k": 3, "n_layers": 2, "hook_names": ["a"]}, "1 hook_names do not make 2 layers"),
        (
            {"k": 3, "architecture": "matryoshka_batchtopk", "matryoshka_widths": [4, 4, 12]},
            r"\[4, 4, 12\] must ascend",
        ),
        ({"k": 3, "architecture": "matryoshka_batchtopk", "matryoshka_widths": [4, 8]}, r"\[4, 8\] must ascend"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SAEConfig(**({"d_in": 6, "d_sae": 12} | values))


def test_the_sparsity_coefficient_climbs_and_is_steered_to_the_target():
    cfg = SAETrainConfig(n_tokens=1000, sparsity_warm_up=0.1)
    assert [coefficient_at(2.0, t, cfg) for t in (0, 50, 100, 1000)] == pytest.approx([0, 1, 2, 2])
    assert coefficient_at(2.0, 0, SAETrainConfig(sparsity_warm_up=0.0)) == 2
    assert steered(2.0, 99.0, cfg) == first_coefficient(2.0, cfg) == 2
    search = SAETrainConfig(target_l0=8)
    assert first_coefficient(2.0, search) < 2 == coefficient_at(2.0, 0, search)
    assert steered(2.0, 8.0, search) == pytest.approx(2)
    assert steered(2.0, 7.0, search) < 2 < steered(2.0, 9.0, search) < steered(2.0, 20.0, search)
    assert 0 < steered(2.0, 0.0, search) < 2
