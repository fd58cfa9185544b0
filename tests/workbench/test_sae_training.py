"""The trainer: it finds planted features, is exact over a kill, and stops in plain words."""

import json
import math

import pytest
import torch

from workbench.sae import SAEConfig, SAETrainConfig, TopK, build_sae, load_sae, random_dictionary, train_sae
from workbench.sae.base import TrainingStep
from workbench.sae.controls import Moments
from workbench.sae.initialise import geometric_median, measure_rows
from workbench.sae.stream import Position, RowStream


def planted(n_features=48, d=24, n=40_000, active=2, seed=1234):
    """Rows that are sparse non-negative sums of known unit directions about a mean.

    The seed must not be one that an SAE starts from, or its first directions are the features.
    """
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n_features, d, generator=generator)
    features /= features.norm(dim=1, keepdim=True)
    chosen = torch.rand(n, n_features, generator=generator).topk(active, dim=1).indices
    strength = 0.5 + torch.rand(n, active, generator=generator)
    f = torch.zeros(n, n_features).scatter(1, chosen, strength)
    return features, 3 + 5 * (f @ features)


def mmcs(features, sae):
    """Mean over true features of the largest cosine with any latent's decoder direction."""
    rows = sae.W_dec / sae.W_dec.norm(dim=1, keepdim=True)
    return (features @ rows.T).max(dim=1).values.mean().item()


class Endless:
    """Batches without end in one order, that can also start in the middle."""

    def __init__(self, rows, size, start=0):
        self.rows, self.size, self.start = rows, size, start
        self.read = 0

    def resume(self, n_batches):
        return Endless(self.rows, self.size, self.start + n_batches)

    def __iter__(self):
        per_epoch = len(self.rows) // self.size
        i = self.start
        while True:
            self.read += 1
            place = i % per_epoch
            yield self.rows[place * self.size : (place + 1) * self.size]
            i += 1


QUICK = {"batch_size": 64, "lr": 3e-3, "n_tokens": 64 * 60}


def weights_of(sae):
    return {name: value.detach().clone() for name, value in sae.named_parameters()}


@pytest.mark.usefixtures("as_in_a_script")
def test_planted_features_are_found_and_chance_does_not_find_them():
    features, x = planted()
    cfg = SAEConfig(d_in=24, d_sae=64, k=2)
    train = SAETrainConfig(n_tokens=150_000, batch_size=256, lr=1e-2)
    log = []
    sae = train_sae(cfg, Endless(x, 256), train, on_log=log.append)
    batches = list(x.split(4096))
    chance = random_dictionary(cfg, Moments.of(batches), batches)
    assert mmcs(features, sae) >= 0.95
    assert mmcs(features, chance) <= 0.6
    assert log[-1]["explained_variance"] >= 0.9
    assert log[-1]["tokens"] >= 150_000


def test_the_finished_sae_reads_unscaled_inputs():
    _, x = planted(n=8_000)
    cfg = SAEConfig(d_in=24, d_sae=48, k=3)
    log = []
    sae = train_sae(cfg, Endless(x, 64), SAETrainConfig(**QUICK, log_every=1), on_log=log.append)
    error = (x - sae(x)).square().sum(1).mean().item()
    assert error == pytest.approx(log[-1]["mse"], rel=0.3)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(48))
    assert not sae.training
    assert not any(p.requires_grad for p in sae.parameters())


def test_the_scale_of_the_inputs_does_not_matter():
    _, x = planted(n=8_000)
    cfg = SAEConfig(d_in=24, d_sae=48, k=3, dtype="float64")
    small, large = (train_sae(cfg, Endless(x.double() * s, 64), SAETrainConfig(**QUICK)) for s in (1, 1000))
    torch.testing.assert_close(small(x.double()) * 1000, large(x.double() * 1000), rtol=1e-6, atol=1e-4)


def test_equal_seeds_give_equal_weights():
    _, x = planted(n=8_000)
    cfg = SAEConfig(d_in=24, d_sae=48, k=3)
    one, two = (train_sae(cfg, Endless(x, 64), SAETrainConfig(**QUICK)) for _ in range(2))
    other = train_sae(SAEConfig(d_in=24, d_sae=48, k=3, seed=1), Endless(x, 64), SAETrainConfig(**QUICK))
    assert all(torch.equal(a, b) for a, b in zip(weights_of(one).values(), weights_of(two).values(), strict=True))
    assert not torch.equal(one.W_dec, other.W_dec)


class Killed(Exception):
    pass


def fail_at(step):
    def on_log(record):
        if record["step"] >= step:
            raise Killed

    return on_log


@pytest.mark.parametrize("source_batch", [64, 50], ids=["batches as they are", "batches cut and joined"])
@pytest.mark.parametrize("plain", [False, True], ids=["a source that resumes", "a plain list"])
def test_a_killed_training_ends_as_an_uninterrupted_one(tmp_path, source_batch, plain):
    _, x = planted(n=8_000)
    cfg = SAEConfig(d_in=24, d_sae=48, k=3)
    train = SAETrainConfig(**QUICK, checkpoint_every_s=1e-9, log_every=7, dead_after=200)
    source = list(x.split(source_batch)) if plain else Endless(x, source_batch)
    whole = train_sae(cfg, source, train)
    with pytest.raises(Killed):
        train_sae(cfg, source, train, out=tmp_path, on_log=fail_at(40))
    assert not (tmp_path / "cfg.json").exists()
    resumed = train_sae(cfg, source, train, out=tmp_path)
    for name, value in weights_of(whole).items():
        assert torch.equal(value, resumed.get_parameter(name)), name
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [*range(7, 60, 7), 60]
    assert not (tmp_path / "checkpoint.safetensors").exists()
    assert torch.equal(load_sae(tmp_path).W_enc, whole.W_enc)


def test_a_finished_training_is_read_back_and_never_overwritten(tmp_path):
    _, x = planted(n=8_000)
    cfg = SAEConfig(d_in=24, d_sae=48, k=3)
    first = train_sae(cfg, Endless(x, 64), SAETrainConfig(**QUICK), out=tmp_path)
    untouched = Endless(x, 64)
    again = train_sae(cfg, untouched, SAETrainConfig(**QUICK), out=tmp_path)
    assert untouched.read == 0
    assert torch.equal(first.W_dec, again.W_dec)
    with pytest.raises(ValueError, match="already holds an SAE of other settings"):
        train_sae(cfg, untouched, SAETrainConfig(**QUICK | {"lr": 1e-3}), out=tmp_path)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    _, x = planted(n=8_000)
    cfg = SAEConfig(d_in=24, d_sae=48, k=3)
    train = SAETrainConfig(**QUICK, checkpoint_every_s=1e-9)
    with pytest.raises(Killed):
        train_sae(cfg, Endless(x, 64), train, out=tmp_path, on_log=fail_at(20))
    with pytest.raises(ValueError, match=r"other settings \(k\)"):
        train_sae(SAEConfig(d_in=24, d_sae=48, k=4), Endless(x, 64), train, out=tmp_path)


def test_a_batch_with_nan_stops_at_its_step_and_keeps_the_checkpoint(tmp_path):
    _, x = planted(n=20_000)
    x[500 * 35 + 3, 5] = math.nan
    train = SAETrainConfig(n_tokens=20_000, batch_size=500, checkpoint_every_s=1e-9)
    with pytest.raises(ValueError, match=r"the batch of step 36 holds values that are not finite.*checkpoint is kept"):
        train_sae(SAEConfig(d_in=24, d_sae=48, k=3), Endless(x, 500), train, out=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([torch.randn(64, 20)] * 99, r"shape \(64, 20\), but this SAE needs rows of width 24"),
        ([torch.randn(64, 24)] * 3, "the batches hold 192 rows, fewer than the 3,840 of n_tokens"),
        (iter([torch.randn(64, 24)] * 3), "ended before the 3,840 rows of n_tokens"),
        ([torch.ones(64, 24)] * 99, "the first rows are all the same"),
        ([torch.full((64, 24), math.inf)] * 99, "the first batches hold values that are not finite"),
        ([], "the batches hold 0 rows"),
    ],
)
def test_batches_that_cannot_be_trained_on_are_refused_in_one_sentence(batches, message):
    with pytest.raises(ValueError, match=message):
        train_sae(SAEConfig(d_in=24, d_sae=48, k=3), batches, SAETrainConfig(**QUICK))


def test_the_auxiliary_loss_turns_a_dead_latent_to_what_is_left_over():
    sae = TopK(SAEConfig(d_in=4, d_sae=2, k=1))
    dead = torch.tensor([False, True])
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0.6, 0.8, 0]]))
        sae.W_enc.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0.1, 0.1, 0]]).T)
    optimiser = torch.optim.SGD([sae.W_dec, sae.W_enc], lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        left_over = (0.5 + torch.rand(32, 1, generator=generator)) * torch.tensor([[0, 1.0, 0, 0]])
        optimiser.zero_grad()
        sae.auxiliary_loss(left_over, left_over, dead, 1).backward()
        sae.constrain_gradients()
        optimiser.step()
        sae.constrain_weights()
    assert sae.W_dec[1, 1] > 0.99
    assert torch.equal(sae.W_dec[0].detach(), torch.tensor([1.0, 0, 0, 0]))


def test_the_auxiliary_loss_touches_dead_latents_only():
    sae = build_sae(SAEConfig(d_in=16, d_sae=64, k=4, dtype="float64"))
    x = torch.randn(128, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dead = torch.arange(64) % 4 == 0

    def gradients(coefficient):
        loss = sae.training_loss(x, x, TrainingStep(dead, 1.0, 0.0, SAETrainConfig(aux_coefficient=coefficient))).total
        return dict(zip(weights_of(sae), torch.autograd.grad(loss, list(sae.parameters())), strict=True))

    without, with_aux = gradients(0.0), gradients(1.0)
    for name, axis in {"W_enc": 1, "b_enc": 0, "W_dec": 0}.items():
        change = (with_aux[name] - without[name]).movedim(axis, 0).flatten(1 if name != "b_enc" else 0)
        assert change[~dead].eq(0).all(), name
        assert change[dead].ne(0).any(), name
    assert torch.equal(with_aux["b_dec"], without["b_dec"])


def test_rows_are_regrouped_without_loss_and_from_any_position():
    rows = torch.arange(70.0)[:, None]
    sizes = [7, 20, 1, 30, 12]

    def stream_from(start):
        return RowStream(list(rows.split(sizes)), 8, 64, lambda batch: None, start)

    stream = stream_from(Position())
    seen = []
    for _ in range(8):
        at = stream.position
        batch = stream.next_batch()
        again = stream_from(at).next_batch()
        assert torch.equal(batch["x"], again["x"])
        seen.append(batch["x"])
    assert torch.equal(torch.cat(seen), rows[:64])
    assert stream.position == Position(4, 6)


def test_the_first_sample_gives_scale_centre_and_variance():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 16, generator=generator, dtype=torch.float64) * 3 + 2
    inputs = measure_rows(x, scale_rows=True)
    scaled = x * inputs.scale
    assert (scaled - inputs.centre).norm(dim=1).mean().item() == pytest.approx(4.0)
    assert inputs.variance == pytest.approx((scaled - scaled.mean(0)).square().sum(1).mean().item())
    assert measure_rows(x, scale_rows=False).scale == 1


def test_the_geometric_median_is_where_the_unit_vectors_to_all_points_cancel():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(500, 6, generator=generator, dtype=torch.float64)
    points[:20] *= 1000
    centre = geometric_median(points, iterations=500, tolerance=1e-12)
    directions = (points - centre) / (points - centre).norm(dim=1, keepdim=True)
    assert directions.mean(0).norm() < 1e-6
    assert centre.norm() < 0.2 < points.mean(0).norm()


def test_numpy_rows_are_trained_on_as_tensors_are():
    rows = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    cfg, how = SAEConfig(d_in=8, d_sae=16, k=2), SAETrainConfig(n_tokens=512, batch_size=64)
    theirs, ours = (train_sae(cfg, batches, how) for batches in ([rows.numpy()], [rows]))
    assert torch.equal(theirs.W_dec, ours.W_dec)
    with pytest.raises(ValueError, match=r"the rows are one array: give batches of them, \[rows\]"):
        train_sae(cfg, rows, how)
