"""End-to-end training: what is minimised is the subject's own, and it buys what a plain dictionary does not."""

import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, Seq2Seq, Seq2SeqConfig, Transformer, TransformerConfig
from models.tasks import Copy
from workbench.sae import SAEConfig, SAETrainConfig, load_sae, loss_recovered, train_sae, train_sae_end_to_end
from workbench.sae.end_to_end import SequenceStream, Subject
from workbench.sae.stream import Position

HOOK, OUT = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
D, N_CTX, D_VOCAB = 16, 12, 16
HOW = SAETrainConfig(n_tokens=6_000, batch_size=256, lr=3e-3, log_every=10)


def chains(n, seed):
    """Sequences in which the next token hangs on the last two, mostly."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randint(1, D_VOCAB, (D_VOCAB, D_VOCAB), generator=torch.Generator().manual_seed(9))
    tokens = torch.randint(1, D_VOCAB, (n, N_CTX), generator=generator)
    noise = torch.rand(n, N_CTX, generator=generator) < 0.1
    for t in range(3, N_CTX):
        follows = table[tokens[:, t - 1], tokens[:, t - 2] % 4]
        tokens[:, t] = torch.where(noise[:, t], tokens[:, t], follows)
    tokens[:, 0] = 0
    return Dataset(tokens=tokens)


@pytest.fixture(scope="module")
def data():
    return chains(400, 0)


@pytest.fixture(scope="module")
def model(data):
    cfg = TransformerConfig(n_layers=2, d_model=D, n_heads=2, d_mlp=32, n_ctx=N_CTX, d_vocab=D_VOCAB)
    subject = Transformer(cfg)
    optimiser = torch.optim.Adam(subject.parameters(), lr=1e-2)
    for i in range(120):
        optimiser.zero_grad()
        subject(data.tokens[i % 8 :: 8], return_type="loss").backward()
        optimiser.step()
    assert subject(data.tokens, return_type="loss").item() < 1.6  # ln 15 is 2.7
    return subject.eval()


def config(architecture="topk", **more):
    k = 3 if "topk" in architecture else None
    return SAEConfig(**({"d_in": D, "d_sae": 48, "k": k, "architecture": architecture, "hook_name": HOOK} | more))


def rows(model, data):
    """The activations, as often as a training needs them."""
    _, cache = model.run_with_cache(data.tokens, names_filter=[HOOK])
    return [cache[HOOK][data.counted].detach()] * 8


@pytest.mark.parametrize("loss", ["kl", "ce"])
def test_at_equal_sparsity_it_keeps_more_of_the_subjects_loss(model, data, loss):
    """As the paper finds; the plain dictionary, trained on as many rows, explains more of the activations."""
    held_out, cfg = chains(100, 1), config()
    end_to_end = train_sae_end_to_end(cfg, model, data, HOW, loss=loss)
    plain = train_sae(cfg, rows(model, data), HOW)
    ours, theirs = (loss_recovered(model, sae, held_out) for sae in (end_to_end, plain))
    assert ours["loss_recovered_mean"] > theirs["loss_recovered_mean"] + 0.02
    assert ours["kl_sae"] < theirs["kl_sae"]
    x = rows(model, held_out)[0]
    assert end_to_end.encode_sparse(x).l0().float().mean() <= 3
    error = [(sae(x) - x).square().sum().item() for sae in (end_to_end, plain)]
    assert error[0] > error[1]


def test_the_divergence_and_its_gradient_are_those_of_the_definition(model, data):
    """KL by PyTorch's own, with the activations replaced by hand; its gradient in what is put there too."""
    subject = Subject(model, config(), data, "kl", [OUT])
    clean = subject.clean(torch.arange(5))
    made = (clean.rows[HOOK] + 0.3).requires_grad_()
    got = subject.spliced(clean, [made])
    tokens, seen = data.tokens[:5], {}

    def put(value, hook):
        return torch.cat([value[:, :1], by_hand.view(5, N_CTX - 1, D)], 1)

    by_hand = made.detach().clone().requires_grad_()
    keep = (OUT, lambda value, hook: seen.update(value=value))
    log_q = model.run_with_hooks(tokens, fwd_hooks=[(HOOK, put), keep]).log_softmax(-1)
    log_p = model(tokens).log_softmax(-1).detach()
    kl = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1)[:, 1:-1].mean()
    _, cache = model.run_with_cache(tokens, names_filter=[OUT])
    before, after = cache[OUT][:, 1:].flatten(0, 1), seen["value"][:, 1:].flatten(0, 1)
    apart = (before - after).square().sum() / (before - before.mean(0)).square().sum()
    assert got["kl"].item() == pytest.approx(kl.item(), abs=1e-5)
    assert got["downstream"].item() == pytest.approx(apart.item(), rel=1e-4)
    sum(got.values()).backward()
    (kl + apart).backward()
    torch.testing.assert_close(made.grad, by_hand.grad, atol=1e-6, rtol=1e-3)
    assert made.grad.abs().max() > 1e-5
    unchanged = subject.spliced(clean, [clean.rows[HOOK]])
    assert unchanged["kl"].item() == pytest.approx(0, abs=1e-6)
    assert unchanged["downstream"].item() == pytest.approx(0, abs=1e-6)


def test_ce_is_the_subjects_own_loss_after_bos(model, data):
    subject = Subject(model, config(), data, "ce", [])
    clean = subject.clean(torch.arange(5))
    each = model(data.tokens[:5], return_type="loss", loss_per_token=True)[:, 1:]
    assert subject.spliced(clean, [clean.rows[HOOK]])["ce"].item() == pytest.approx(each.mean().item(), abs=1e-5)


@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        ("standard", {}),
        ("batchtopk", {}),
        ("jumprelu", {}),
        ("gated", {}),
        ("matryoshka_batchtopk", {}),
        ("topk", {"d_out": D, "hook_name": "blocks.0.ln2.hook_normalized", "hook_name_out": "blocks.0.hook_mlp_out"}),
        ("batchtopk", {"n_layers": 2, "hook_names": (HOOK, OUT)}),
    ],
)
def test_every_architecture_and_kind_learns_what_the_subject_needs(model, data, architecture, more):
    how = SAETrainConfig(
        n_tokens=4_000, batch_size=256, log_every=2, sparsity=0.05 if "topk" not in architecture else None
    )
    log = []
    sae = train_sae_end_to_end(config(architecture, **more), model, data, how, on_log=log.append)
    kl = [record["kl"] for record in log]
    assert kl[-1] < 0.8 * kl[0]
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None or not parameter.grad.isnan().any() for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in sae.parameters())


def test_a_killed_training_ends_in_the_same_bits(model, data, tmp_path):
    how = SAETrainConfig(n_tokens=3_000, batch_size=256, log_every=1, checkpoint_every_s=1e-9)
    cfg = config("jumprelu")

    class Killed(Exception):
        pass

    def kill(record):
        if record["step"] == 6:
            raise Killed

    whole = train_sae_end_to_end(cfg, model, data, how, downstream=[OUT])
    with pytest.raises(Killed):
        train_sae_end_to_end(cfg, model, data, how, downstream=[OUT], out=tmp_path, on_log=kill)
    steps = []
    resumed = train_sae_end_to_end(
        cfg, model, data, how, downstream=[OUT], out=tmp_path, on_log=lambda record: steps.append(record["step"])
    )
    assert steps[0] == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
        assert torch.equal(value, load_sae(tmp_path).state_dict()[name])
    again = train_sae_end_to_end(cfg, model, data, how, downstream=[OUT], out=tmp_path)
    assert torch.equal(again.W_dec, whole.W_dec)
    with pytest.raises(ValueError, match="already holds an SAE of other settings"):
        train_sae_end_to_end(cfg, model, data, how, loss="ce", out=tmp_path)
    with pytest.raises(ValueError, match="already holds an SAE of other settings"):
        train_sae_end_to_end(cfg, model, data.select(torch.arange(300)), how, downstream=[OUT], out=tmp_path)
    other = Transformer(model.cfg)
    with pytest.raises(ValueError, match="already holds an SAE of other settings"):
        train_sae_end_to_end(cfg, other, data, how, downstream=[OUT], out=tmp_path)


def test_every_sequence_comes_once_an_epoch_in_an_order_of_its_own():
    sequences = torch.arange(3, 10).numpy()
    stream = SequenceStream(sequences, 11.0, 33, 0, Position())
    drawn = torch.cat([stream.next_batch()["sequences"] for _ in range(14)])
    first, second = drawn[:7], drawn[7:14]
    assert first.sort().values.tolist() == second.sort().values.tolist() == sequences.tolist()
    assert first.tolist() != second.tolist()
    later = SequenceStream(sequences, 11.0, 33, 0, Position(4))
    assert torch.equal(later.next_batch()["sequences"], drawn[12:15])


def test_what_cannot_be_trained_is_refused_in_one_sentence(model, data):
    with pytest.raises(ValueError, match="cannot be 'mse': choose kl or ce"):
        train_sae_end_to_end(config(), model, data, HOW, loss="mse")
    with pytest.raises(ValueError, match=r"no hook called 'blocks\.9\.x'"):
        train_sae_end_to_end(config(), model, data, HOW, downstream=["blocks.9.x"])
    with pytest.raises(ValueError, match="this SAE needs rows of width 8"):
        train_sae_end_to_end(config(d_in=8), model, data, HOW)
    network = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_vocab=D_VOCAB))
    with pytest.raises(ValueError, match=r"blocks\.0\.rnn\.hook_h fires once a step"):
        train_sae_end_to_end(config(hook_name="blocks.0.rnn.hook_h"), network, data, HOW)
    vectors = Dataset(torch.randn(4, 6, 2), targets=torch.randn(4, 6, 3))
    regression = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_in=2, d_out=3))
    with pytest.raises(ValueError, match="no KL divergence"):
        train_sae_end_to_end(config(hook_name="blocks.0.hook_out"), regression, vectors, HOW)
    task = Copy()
    shape = {name: task.shape[name] for name in ("d_vocab", "d_vocab_source")}
    answering = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=D, attention="none", **shape))
    with pytest.raises(ValueError, match=r"nothing that the model says hangs on encoder_blocks\.0\.hook_out"):
        # Without attention the decoder goes on from the last state alone.
        train_sae_end_to_end(config(hook_name="encoder_blocks.0.hook_out"), answering, task.dataset(20, 5), HOW)
    only_bos = Dataset(
        tokens=torch.zeros(2, N_CTX, dtype=torch.int64), mask=torch.arange(N_CTX)[None] < torch.ones(2, 1)
    )
    with pytest.raises(ValueError, match="nothing to train on"):
        train_sae_end_to_end(config(), model, only_bos, HOW)
