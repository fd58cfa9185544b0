"""The logit lens: what the read-out says of each layer, against the same taken by hand and by TransformerLens."""

import numpy as np
import pytest
import torch
from hub_folders import save_hub_model
from transformer_lens.tools.analysis.logit_lens import logit_lens as their_logit_lens

from models import (
    MLP,
    Dataset,
    EncoderDecoderTransformer,
    EncoderDecoderTransformerConfig,
    MLPConfig,
    Recurrent,
    RecurrentConfig,
    Seq2Seq,
    Seq2SeqConfig,
    Transformer,
    TransformerConfig,
)
from models.baselines import ngram_losses
from models.hub import HubModel, HubModelConfig
from models.tasks import Copy
from workbench.interventions import reading_out
from workbench.interventions.lens_tokens import lens_tokens
from workbench.interventions.logit_lens import logit_lens, read_outs

D_VOCAB = 20
SOURCE = Copy().dataset(6, 2)
OF_COPY = {name: Copy().shape[name] for name in ("d_vocab", "d_vocab_source")}


def loud(model):
    """Weights so large that every layer says something else."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.requires_grad_(False).eval()


def transformer(**more):
    shape = {"n_layers": 3, "d_model": 16, "n_heads": 2, "n_ctx": 9, "d_vocab": D_VOCAB}
    return loud(Transformer(TransformerConfig(**(shape | more))))


@pytest.fixture(scope="module")
def model():
    return transformer()


@pytest.fixture(scope="module")
def data():
    """Five sequences of three documents, some of them padded."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(9) < torch.tensor([9, 9, 7, 4, 8])[:, None]
    tokens = torch.randint(1, D_VOCAB, (5, 9), generator=generator) * mask
    tokens[:, 0] = 0
    return Dataset(tokens=tokens, mask=mask, docs=torch.tensor([0, 0, 1, 2, 2]))


def values(table, variant, measure="loss"):
    return table[(table["variant"] == variant) & (table["measure"] == measure)].set_index("hook")["value"]


def subjects():
    tokens = Dataset(tokens=torch.cat([torch.zeros(4, 1, dtype=torch.int64), torch.arange(32).view(4, 8) % 20], 1))
    yield "transformer", transformer(), tokens, 4
    yield (
        "llama's",
        transformer(normalization_type="RMS", positional_embedding_type="rotary", attn_only=True),
        tokens,
        4,
    )
    yield "lstm", loud(Recurrent(RecurrentConfig(cell="lstm", n_layers=2, d_model=8, d_vocab=20))), tokens, 2
    for attention, n in (("none", 2), ("bahdanau", 2), ("luong_general", 3)):
        cfg = Seq2SeqConfig(cell="gru", n_layers=2, d_model=8, attention=attention, **OF_COPY)
        yield f"seq2seq, {attention}", loud(Seq2Seq(cfg)), SOURCE, n
    for pre_norm in (True, False):
        cfg = EncoderDecoderTransformerConfig(
            n_layers=2, d_model=8, n_heads=2, n_ctx=Copy().shape["n_ctx"], pre_norm=pre_norm, **OF_COPY
        )
        yield f"encoder-decoder, pre_norm={pre_norm}", loud(EncoderDecoderTransformer(cfg)), SOURCE, 3


@pytest.mark.parametrize(("model", "data", "n"), [s[1:] for s in subjects()], ids=[s[0] for s in subjects()])
def test_the_last_layer_says_what_the_subject_says(model, data, n):
    batch = data.batch(slice(None))
    loss = model(**batch, return_type="loss")
    found = logit_lens(model, data, batch_size=3)
    assert found[found["variant"] == "logit lens"]["hook"].nunique() == n
    assert values(found, "logit lens").iloc[-1] == pytest.approx(float(loss), abs=1e-5)
    assert values(found, "logit lens", "kl").iloc[-1] == pytest.approx(0, abs=1e-6)
    assert values(found, "logit lens", "agreement").iloc[-1] == 1
    assert (values(found, "logit lens", "kl").iloc[:-1] > 0.01).all()
    given = {name: value for name, value in batch.items() if name != "targets"}
    names, read = read_outs(model, data, batch_size=4)
    assert names == found["hook"].unique().tolist()
    assert torch.allclose(read[-1], model(**given), atol=1e-5)


def test_what_is_measured_is_what_it_is_called(model, data):
    found = logit_lens(model, data, n_controls=0)
    _, cache = model.run_with_cache(data.tokens, names_filter="blocks.0.hook_resid_post")
    logits = model.unembed(model.ln_final(cache["blocks.0.hook_resid_post"])).double()
    own = model(data.tokens).double().log_softmax(-1)
    asked = data.mask[:, 1:]
    here, own, target = logits[:, :-1][asked].log_softmax(-1), own[:, :-1][asked], data.tokens[:, 1:][asked]
    loss = torch.nn.functional.cross_entropy(here, target, reduction="none")
    order = here.argsort(-1, descending=True)
    expected = {
        "loss": loss.mean(),
        "rank": ((order == target[:, None]).nonzero()[:, 1] + 1.0).mean(),
        "probability": (-loss).exp().mean(),
        "entropy": torch.distributions.Categorical(logits=here).entropy().mean(),
        "kl": torch.nn.functional.kl_div(here, own, log_target=True, reduction="batchmean"),
        "agreement": (here.argmax(-1) == own.argmax(-1)).double().mean(),
    }
    lines = found[found["hook"] == "blocks.0.hook_resid_post"].set_index("measure")
    assert lines["value"].to_dict() == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-5)
    assert (lines["low"] <= lines["value"]).all()
    assert (lines["value"] <= lines["high"]).all()
    assert (lines["low"] < lines["high"]).any()
    assert set(lines["sequences"]) == {5}
    assert set(lines["documents"]) == {3}


def test_positions_add_up_to_the_whole(model, data):
    whole, apart = logit_lens(model, data), logit_lens(model, data, by=("position",), batch_size=2)
    asked = data.mask[:, 1:].sum(0).numpy()
    for (hook, variant, measure), lines in apart.groupby(["hook", "variant", "measure"]):
        assert lines["position"].tolist() == list(range(8))
        together = np.average(lines["value"], weights=asked)
        assert values(whole[whole["hook"] == hook], variant, measure).iloc[0] == pytest.approx(together, abs=1e-6)
    assert apart[apart["position"] == 7]["sequences"].unique() == [2]


def test_the_logits_are_transformer_lenss(model):
    tokens = torch.randint(1, D_VOCAB, (3, 7), generator=torch.Generator().manual_seed(3))
    names, ours = read_outs(model, tokens)
    theirs = their_logit_lens(model, tokens).readout.values
    assert names[0] == "blocks.0.hook_resid_pre"
    assert torch.allclose(ours[:, :, -1], theirs, atol=1e-5)


def test_controls_know_nothing_of_the_next_token():
    """A subject that says the token it has read: its lens knows what comes next in runs of one token, others do not."""
    model = Transformer(
        TransformerConfig(n_layers=1, d_model=32, n_heads=1, n_ctx=9, d_vocab=20, tie_word_embeddings=True)
    )
    untrained = transformer(n_layers=1, d_model=32, n_heads=1)
    tokens = torch.arange(1, 20)[:, None].repeat(1, 8)
    found = logit_lens(model, tokens, untrained=untrained, train=tokens, n_controls=3)
    chance = np.log(19)
    assert (values(found, "logit lens") < chance - 0.5).all()
    for control in ("random rotation", "untrained"):
        assert (values(found, control) > chance).all()
    assert found[found["variant"] == "random rotation"]["seed"].unique().tolist() == [0, 1, 2]
    expected = ngram_losses(*[(tokens, torch.ones_like(tokens, dtype=torch.bool))] * 2, 20)
    lines = found[found["hook"].isna()].set_index("variant")["value"]
    assert lines.to_dict() == {"unigram": expected["unigram_loss"], "bigram": expected["bigram_loss"]}


def test_a_recurrent_subject_is_read_at_its_steps():
    model = loud(Recurrent(RecurrentConfig(cell="lstm", n_layers=2, d_model=8, d_vocab=20)))
    tokens = torch.arange(18).view(2, 9)
    hooks = ["blocks.1.rnn.hook_h", "blocks.1.rnn.hook_c"]
    names, read = read_outs(model, tokens, hooks=hooks)
    _, cache = model.run_with_cache(tokens, names_filter=hooks)
    assert set(names) == set(hooks)
    for name, logits in zip(names, read, strict=True):
        assert torch.allclose(logits, cache[name] @ model.unembed.W_U + model.unembed.b_U, atol=1e-5)


def test_tokens_of_each_layer_and_position(model, data):
    found = lens_tokens(model, data, k=2, untrained=transformer(seed=5))
    real = data.mask.nonzero().tolist()
    names, read = read_outs(model, data)
    for variant in ("logit lens", "random rotation", "untrained"):
        of_one = found[(found["variant"] == variant) & (found["hook"] == names[1]) & (found["place"] == 1)]
        assert of_one[["sequence", "position"]].to_numpy().tolist() == real
    ours = found[(found["variant"] == "logit lens") & (found["hook"] == names[2])]
    likeliest = read[2].softmax(-1)[data.mask].topk(2)
    assert ours["token"].tolist() == likeliest.indices.flatten().tolist()
    assert ours["probability"].to_numpy() == pytest.approx(likeliest.values.flatten().numpy(), abs=1e-6)
    row = ours[(ours["sequence"] == 3) & (ours["place"] == 1)].set_index("position")
    assert row["input"].tolist() == data.tokens[3, :4].tolist()
    assert row["target"].tolist()[:3] == data.tokens[3, 1:4].tolist()
    assert row.loc[3, ["target", "target_rank", "loss"]].isna().all()
    assert row["kl"].notna().all()
    assert row.loc[1, "loss"] == pytest.approx(-np.log(row.loc[1, "target_probability"]), rel=1e-5)


@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "Gemma2ForCausalLM"])
def test_models_of_the_hub(tmp_path, kind):
    model = HubModel(HubModelConfig.of(str(save_hub_model(tmp_path / kind, kind))))
    tokens = torch.randint(0, 100, (2, 6), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = model.bos
    names, read = read_outs(model, tokens)
    assert len(names) == 3
    with torch.no_grad():
        assert torch.allclose(read[-1], model(tokens), atol=1e-4)
    found = lens_tokens(model, tokens, k=1, n_controls=0)
    assert found["text"].notna().all()


def test_logits_that_are_made_a_few_at_a_time_are_the_same(model, data, monkeypatch):
    whole, tokens = logit_lens(model, data), lens_tokens(model, data, k=2)
    monkeypatch.setattr(reading_out, "_CPU_CHUNK", 3 * D_VOCAB)
    apart = logit_lens(model, data, batch_size=2)
    assert apart["value"].to_numpy() == pytest.approx(whole["value"].to_numpy(), abs=1e-6)
    assert lens_tokens(model, data, k=2, batch_size=4)["token"].tolist() == tokens["token"].tolist()


def test_hooks_and_mode_are_left_as_they_were(model, data):
    model.train()
    logit_lens(model, data)
    assert model.training
    with pytest.raises(ValueError, match="mlp.hook_post has values of shape"):
        logit_lens(model, data, hooks=["blocks.0.mlp.hook_post"])
    assert model.training
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    model.eval()


def test_bad_input(model, data):
    bad = [
        (lambda: logit_lens(MLP(MLPConfig(d_in=3, d_out=2, d_mlp=4)), data), "a MLP has no stream of layers"),
        (lambda: logit_lens(model, data, hooks=["blocks.7.hook_resid_post"]), "no hook named"),
        (lambda: logit_lens(model, data, hooks=["blocks.0.attn.hook_pattern"]), "has values of shape"),
        (lambda: logit_lens(model, data, targets=data.tokens[:, :4]), r"targets are \[5, 4\], but there are positions"),
        (lambda: logit_lens(model, data, targets=data.tokens + 15), "targets run from 15 to 34"),
        (lambda: logit_lens(model, data, targets=torch.full_like(data.tokens, -100)), "nothing is asked"),
        (lambda: logit_lens(model, data, by=("layer",)), "by has 'layer'"),
        (lambda: logit_lens(model, data, train=data.tokens + 15), "tokens that the subject does not know"),
        (lambda: logit_lens(model, data, untrained=transformer(d_model=8)), "give the same subject before training"),
        (lambda: lens_tokens(model, data, k=21), "there are 1 to 20 tokens"),
    ]
    for call, sentence in bad:
        with pytest.raises(ValueError, match=sentence):
            call()


def test_a_subject_that_answers_with_vectors_or_sees_the_next_token():
    vectors = Dataset(tokens=torch.randn(2, 5, 3), targets=torch.randn(2, 5, 4))
    model = Recurrent(RecurrentConfig(cell="gru", d_model=8, d_in=3, d_out=4))
    with pytest.raises(ValueError, match="reads off classes"):
        logit_lens(model, vectors)
    with pytest.raises(ValueError, match="there is no next token to predict"):
        logit_lens(model, vectors.tokens)
    both_ways = Recurrent(RecurrentConfig(cell="gru", d_model=8, d_vocab=9, bidirectional=True))
    with pytest.raises(ValueError, match="sees the next"):
        logit_lens(both_ways, torch.arange(8).view(2, 4))
    classes = torch.randint(0, 4, (2, 5), generator=torch.Generator().manual_seed(0))
    assert len(logit_lens(model, vectors.tokens, targets=classes))
