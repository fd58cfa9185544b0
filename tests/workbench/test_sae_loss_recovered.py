"""Loss recovered on a real subject: its two fixed points, and what may not count."""

import math

import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from workbench.sae import SAEConfig, TopK, build_sae, loss_recovered
from workbench.sae.loss_recovered import kl_divergence, losses_recovered

HOOK = "blocks.0.mlp.hook_post"
D_MLP = 16


@pytest.fixture(scope="module")
def model():
    cfg = TransformerConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=D_MLP, n_ctx=12, d_vocab=20)
    subject = Transformer(cfg).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in subject.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return subject


@pytest.fixture(scope="module")
def dataset():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 20, (7, 12), generator=generator)
    mask = torch.arange(12) < torch.tensor([12, 12, 9, 5, 2, 1, 12])[:, None]
    tokens[:, 0] = 0
    return Dataset(tokens=tokens * mask, mask=mask)


def identity(scale=1.0, bias=None):
    """x itself, sign by sign, times `scale`."""
    eye = torch.eye(D_MLP)
    weights = {
        "W_enc": torch.cat([eye, -eye]).T,
        "W_dec": scale * torch.cat([eye, -eye]),
        "b_enc": torch.zeros(2 * D_MLP),
        "b_dec": torch.zeros(D_MLP) if bias is None else bias,
    }
    return TopK.from_weights(SAEConfig(d_in=D_MLP, d_sae=2 * D_MLP, k=D_MLP, hook_name=HOOK), weights)


def measured(model, sae, dataset, **more):
    return loss_recovered(model, sae, dataset, **more)


def test_the_identity_recovers_everything(model, dataset):
    got = measured(model, identity(), dataset)
    assert got["ce_sae"] == pytest.approx(got["ce_clean"], abs=1e-5)
    assert got["loss_recovered_zero"] == pytest.approx(1, abs=1e-3)
    assert got["loss_recovered_mean"] == pytest.approx(1, abs=1e-3)


def test_an_sae_that_gives_zero_recovers_nothing_of_zero_ablation(model, dataset):
    got = measured(model, identity(scale=0.0), dataset)
    assert got["ce_sae"] == pytest.approx(got["ce_zero"], abs=1e-6)
    assert got["loss_recovered_zero"] == pytest.approx(0, abs=1e-5)


def test_an_sae_that_gives_the_mean_recovers_nothing_of_mean_ablation(model, dataset):
    _, cache = model.run_with_cache(dataset.tokens, names_filter=[HOOK])
    replaced = dataset.mask.clone()
    replaced[:, 0] = False
    mean = cache[HOOK][replaced].mean(0)
    got = measured(model, identity(scale=0.0, bias=mean), dataset)
    assert got["loss_recovered_mean"] == pytest.approx(0, abs=1e-4)
    assert got["ce_mean"] != pytest.approx(got["ce_zero"], abs=1e-3)


def test_several_dictionaries_share_the_passes_that_none_of_them_is_in(model, dataset, monkeypatch):
    passes = []
    run = model.run_with_hooks
    monkeypatch.setattr(model, "run_with_hooks", lambda *args, **more: passes.append(1) or run(*args, **more))
    saes = [identity(), identity(scale=0.5), identity(scale=0.0)]
    together = losses_recovered(model, saes, dataset)
    assert len(passes) == 3 + len(saes)
    assert together == [loss_recovered(model, sae, dataset) for sae in saes]


def test_dictionaries_of_different_hooks_share_nothing(model, dataset):
    other = build_sae(SAEConfig(d_in=D_MLP, d_sae=8, k=2, hook_name="blocks.1.mlp.hook_post"))
    with pytest.raises(ValueError, match="different hooks"):
        losses_recovered(model, [identity(), other], dataset)


def test_the_clean_loss_is_the_mean_over_real_targets_predicted_after_bos(model, dataset):
    log_probs = model(dataset.tokens).log_softmax(-1)
    losses = [
        -log_probs[row, pos, dataset.tokens[row, pos + 1]].item()
        for row in range(len(dataset))
        for pos in range(1, 11)
        if dataset.mask[row, pos + 1]
    ]
    got = measured(model, identity(), dataset)
    assert got["ce_clean"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_bos_and_padding_are_never_replaced(model, dataset, monkeypatch):
    seen = []
    sae = identity()
    encode = sae.encode_sparse
    monkeypatch.setattr(sae, "encode_sparse", lambda x: (seen.append(x), encode(x))[1])
    measured(model, sae, dataset, batch_size=3)
    _, cache = model.run_with_cache(dataset.tokens, names_filter=[HOOK])
    replaced = dataset.mask.clone()
    replaced[:, 0] = False
    torch.testing.assert_close(torch.cat(seen), cache[HOOK][replaced])


def test_padding_and_batches_do_not_change_the_result(model, dataset):
    whole = measured(model, build_sae(SAEConfig(d_in=D_MLP, d_sae=24, k=3, hook_name=HOOK)), dataset)
    other = Dataset(tokens=torch.where(dataset.mask, dataset.tokens, 7), mask=dataset.mask)
    sae = build_sae(SAEConfig(d_in=D_MLP, d_sae=24, k=3, hook_name=HOOK))
    assert measured(model, sae, other, batch_size=2) == pytest.approx(whole, abs=1e-5)


def test_what_cannot_be_measured_is_refused_in_one_sentence(model, dataset):
    nameless = build_sae(SAEConfig(d_in=D_MLP, d_sae=24, k=3))
    with pytest.raises(ValueError, match="names no hook"):
        measured(model, nameless, dataset)
    with pytest.raises(ValueError, match=r"no hook called 'blocks\.9\.hook_x'"):
        measured(model, nameless, dataset, hook_name="blocks.9.hook_x")
    narrow = build_sae(SAEConfig(d_in=8, d_sae=24, k=3, hook_name=HOOK))
    with pytest.raises(ValueError, match="reads rows of width 8"):
        measured(model, narrow, dataset)
    only_bos = Dataset(tokens=torch.zeros(2, 12, dtype=torch.int64), mask=torch.arange(12)[None] < torch.ones(2, 1))
    with pytest.raises(ValueError, match="no token after BOS"):
        measured(model, identity(), only_bos)


def test_a_recurrence_is_spliced_step_by_step(dataset):
    """Zero ablation empties the state after every step but BOS, so that no later one remembers anything."""
    subject = Recurrent(RecurrentConfig(cell="gru", d_model=D_MLP, d_vocab=20))
    hook = "blocks.0.rnn.hook_h"
    got = measured(subject, identity(), dataset, hook_name=hook)
    assert got["ce_sae"] == pytest.approx(got["ce_clean"], abs=1e-5)
    losses = subject.run_with_hooks(
        dataset.tokens,
        mask=dataset.mask,
        return_type="loss",
        loss_per_token=True,
        fwd_hooks=[(hook, lambda h, hook: h * 0 if hook.ctx["t"] else h)],
    )
    counted = dataset.counted[:, :-1] & dataset.mask[:, 1:]
    assert got["ce_zero"] == pytest.approx(losses[counted].mean().item(), abs=1e-5)


def test_targets_are_what_is_lost_where_there_are_any():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4, 6, 2, generator=generator)
    data = Dataset(inputs, targets=torch.randn(4, 6, 3, generator=generator))
    subject = Recurrent(RecurrentConfig(cell="rnn", d_model=D_MLP, d_in=2, d_out=3))
    got = measured(subject, identity(), data, hook_name="blocks.0.hook_out")
    assert got["ce_clean"] == pytest.approx(float(subject(**data.batch(slice(None)), return_type="loss")), abs=1e-5)
    assert got["ce_sae"] == pytest.approx(got["ce_clean"], abs=1e-5)
    assert not any(name.startswith("kl") for name in got)


def test_the_divergence_of_two_coins_by_hand():
    """KL of a fair coin from one that shows heads three times in four: ½ ln(½ / ¾) + ½ ln(½ / ¼)."""
    p, q = torch.tensor([[0.5, 0.5]]).log() + 7.0, torch.tensor([[0.75, 0.25]]).log() - 2.0
    by_hand = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert kl_divergence(p, q).item() == pytest.approx(by_hand, abs=1e-6)
    assert kl_divergence(p, p + 3).item() == pytest.approx(0, abs=1e-6)


def test_the_divergence_is_the_mean_over_what_counts(model, dataset):
    """Against PyTorch's own, position by position, for zero ablation."""

    def ablate(value, hook):
        kept = ~dataset.counted
        return value * kept[..., None]

    clean = model(dataset.tokens).log_softmax(-1)
    without = model.run_with_hooks(dataset.tokens, fwd_hooks=[(HOOK, ablate)]).log_softmax(-1)
    each = torch.nn.functional.kl_div(without, clean, log_target=True, reduction="none").sum(-1)
    counted = dataset.counted[:, :-1] & dataset.mask[:, 1:]
    expected = each[:, :-1][counted].mean().item()
    got = measured(model, identity(), dataset, batch_size=3)
    assert got["kl_zero"] == pytest.approx(expected, abs=1e-5)
    assert got["kl_zero"] > 1e-3
    assert got["kl_sae"] == pytest.approx(0, abs=1e-6)
    assert got["kl_recovered_zero"] == pytest.approx(1, abs=1e-3)
    nothing = measured(model, identity(scale=0.0), dataset)
    assert nothing["kl_recovered_zero"] == pytest.approx(0, abs=1e-5)


def test_a_transcoder_that_is_the_mlps_output_weights_loses_nothing(model, dataset):
    """From the MLP's neurons to its output, W_out by a skip; the output hook is what is replaced and ablated."""
    mlp, out = model.blocks[0].mlp, "blocks.0.hook_mlp_out"
    cfg = SAEConfig(d_in=D_MLP, d_sae=4, k=1, d_out=8, skip=True, hook_name=HOOK, hook_name_out=out)
    weights = {
        "W_enc": torch.zeros(D_MLP, 4),
        "b_enc": torch.zeros(4),
        "W_dec": torch.zeros(4, 8),
        "b_dec": mlp.b_out.detach(),
        "W_skip": mlp.W_out.detach().T.contiguous(),
    }
    got = measured(model, TopK.from_weights(cfg, weights), dataset)
    assert got["ce_sae"] == pytest.approx(got["ce_clean"], abs=1e-5)
    assert got["kl_recovered_mean"] == pytest.approx(1, abs=1e-3)
    as_sae = measured(model, identity_of(8, out), dataset)
    assert (got["ce_zero"], got["ce_mean"]) == pytest.approx((as_sae["ce_zero"], as_sae["ce_mean"]), abs=1e-6)


def identity_of(d, hook):
    eye = torch.eye(d)
    weights = {
        "W_enc": torch.cat([eye, -eye]).T,
        "W_dec": torch.cat([eye, -eye]),
        "b_enc": torch.zeros(2 * d),
        "b_dec": torch.zeros(d),
    }
    return TopK.from_weights(SAEConfig(d_in=d, d_sae=2 * d, k=d, hook_name=hook), weights)


def test_a_crosscoder_replaces_all_its_hooks_from_a_clean_pass(model, dataset):
    hooks = ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
    cfg = SAEConfig(d_in=8, d_sae=32, k=16, n_layers=2, hook_names=hooks)
    exact = TopK.from_weights(cfg, {k: v.detach() for k, v in identity_of(16, "").state_dict().items()})
    got = measured(model, exact, dataset)
    assert got["ce_sae"] == pytest.approx(got["ce_clean"], abs=1e-5)
    crosscoder = build_sae(SAEConfig(d_in=8, d_sae=12, k=3, n_layers=2, hook_names=hooks)).requires_grad_(False)
    got = measured(model, crosscoder, dataset, batch_size=2)
    _, cache = model.run_with_cache(dataset.tokens, names_filter=list(hooks))
    made = crosscoder(torch.stack([cache[hook] for hook in hooks], 2).flatten(0, 1)).unflatten(0, (7, 12))

    def put(layer):
        return lambda value, hook: torch.where(dataset.counted[..., None], made[:, :, layer], value)

    losses = model.run_with_hooks(
        dataset.tokens,
        mask=dataset.mask,
        return_type="loss",
        loss_per_token=True,
        fwd_hooks=[(hook, put(layer)) for layer, hook in enumerate(hooks)],
    )
    counted = dataset.counted[:, :-1] & dataset.mask[:, 1:]
    assert got["ce_sae"] == pytest.approx(losses[counted].mean().item(), abs=1e-5)
    assert got["ce_sae"] != pytest.approx(got["ce_clean"], abs=1e-3)
