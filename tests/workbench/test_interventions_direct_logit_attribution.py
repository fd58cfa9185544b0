"""Direct logit attribution: components sum to the logit, and are TransformerLens's where it has them."""

import pytest
import torch
from hub_folders import save_hub_model
from transformer_lens.tools.analysis.direct_logit_attribution import direct_logit_attribution as theirs

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
from models.hub import HubModel, HubModelConfig
from models.tasks import Copy
from workbench.interventions import reading_out
from workbench.interventions.direct_logit_attribution import beside_random, direct_logit_attribution

SOURCE = Copy().dataset(6, 2)
OF_COPY = {name: Copy().shape[name] for name in ("d_vocab", "d_vocab_source")}
TOKENS = torch.randint(1, 31, (4, 8), generator=torch.Generator().manual_seed(0)).index_fill(1, torch.tensor(0), 0)
ANSWER, WRONG = torch.tensor([5, 6, 7, 8]), torch.tensor([9, 2, 3, 4])
FINE = ("head", "neuron")
SHAPES = {
    "LayerNorm": {},
    "no norm": {"normalization_type": None},
    "attention-only, sinusoidal": {"attn_only": True, "positional_embedding_type": "sinusoidal"},
    "llama's": {
        "normalization_type": "RMS",
        "gated_mlp": True,
        "act_fn": "silu",
        "positional_embedding_type": "rotary",
        "tie_word_embeddings": True,
    },
    "SoLU": {"act_fn": "solu_ln", "positional_embedding_type": "none"},
}


def loud(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.requires_grad_(False).eval()


def subject(**overrides):
    """A small subject none of whose biases and gains is what it was initialised to."""
    shape = {"n_layers": 2, "d_model": 16, "n_heads": 4, "n_ctx": 12, "d_vocab": 31}
    return loud(Transformer(TransformerConfig(**(shape | overrides))))


def sums(table):
    """Of each variant and seed, what the components add up to, and the logit."""
    lines = table.groupby(["variant", "seed", "position"], dropna=False)
    return lines["value"].sum().to_numpy(), lines["logit"].first().to_numpy()


CASES = [
    (torch.float32, 1e-5, "layer", WRONG),
    (torch.float32, 1e-5, FINE, None),
    (torch.float64, 1e-10, FINE, WRONG),
    (torch.float64, 1e-10, "head", None),
]


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("overrides", SHAPES.values(), ids=SHAPES)
def test_components_sum_to_the_logit(overrides, folded):
    for dtype, tolerance, by, wrong in CASES:
        model = subject(**overrides).to(dtype)
        found = direct_logit_attribution(model, TOKENS, ANSWER, wrong, by=by, folded=folded, n_controls=2)
        total, logit = sums(found)
        assert total == pytest.approx(logit, rel=tolerance, abs=tolerance)
        last = (model.folded() if folded else model)(TOKENS)[:, -1].detach().double()
        own = last[range(4), ANSWER] - (0 if wrong is None else last[range(4), wrong])
        assert found["logit"][0] == pytest.approx(float(own.mean()), rel=tolerance, abs=tolerance)
        assert len(set(logit.round(6))) == 3  # an answer and two draws


def test_parts_are_transformer_lenss():
    model = subject()
    ours = direct_logit_attribution(model, TOKENS, ANSWER, WRONG, folded=True, n_controls=0)
    expected = theirs(model.folded(), TOKENS, ANSWER, WRONG, unit="component")
    named = {"embed": "embed", "pos_embed": "pos_embed", "attention": "{}_attn_out", "mlp": "{}_mlp_out"}
    lines = {
        named[line.component].format(line.layer): line.value for line in ours.itertuples() if line.component in named
    }
    assert lines == pytest.approx(
        {
            label: float(value.detach().mean())
            for label, value in zip(expected.labels, expected.attribution, strict=True)
        },
        abs=2e-5,
    )


def test_heads_are_transformer_lenss():
    model = subject()
    _, cache = model.folded().run_with_cache(TOKENS)
    stack, labels = cache.stack_head_results(apply_ln=False, pos_slice=-1, return_labels=True)
    expected = cache.logit_attrs(stack, tokens=ANSWER, incorrect_tokens=WRONG, pos_slice=-1, has_batch_dim=True)
    ours = direct_logit_attribution(model, TOKENS, ANSWER, WRONG, folded=True, by="head", n_controls=0)
    heads = ours[ours["head"].notna()]
    assert [f"L{line.layer}H{line.head}" for line in heads.itertuples()] == labels
    assert heads["value"].to_numpy() == pytest.approx(expected.mean(-1).detach().numpy(), abs=2e-5)


def test_finer_parts_sum_to_coarser_ones():
    model = subject().double()
    coarse = direct_logit_attribution(model, TOKENS, ANSWER, n_controls=0)
    fine = direct_logit_attribution(model, TOKENS, ANSWER, by=FINE, n_controls=0)
    assert set(fine["component"]) - set(coarse["component"]) == {"attention bias", "mlp bias"}
    assert fine["head"].nunique() == 4
    assert fine["unit"].nunique() == 64
    for name in ("attention", "mlp"):
        ours = fine[fine["component"].isin([name, f"{name} bias"])].groupby("layer")["value"].sum()
        assert ours.tolist() == pytest.approx(coarse[coarse["component"] == name]["value"].tolist(), abs=1e-12)


@torch.no_grad()
def test_a_head_adds_what_its_absence_takes_while_the_norm_is_frozen():
    model = subject().double()
    _, cache = model.run_with_cache(TOKENS, names_filter=["blocks.0.attn.hook_z", "ln_final.hook_scale"])
    frozen = ("ln_final.hook_scale", lambda value, hook: cache["ln_final.hook_scale"])
    later = model.run_with_cache(
        TOKENS, names_filter=["blocks.0.hook_mlp_out", "blocks.1.hook_attn_out", "blocks.1.hook_mlp_out"]
    )[1]
    still = [(name, lambda value, hook: later[hook.name]) for name in later]

    def without(value, hook):
        value = value.clone()
        value[:, :, 2] = 0
        return value

    logits = model(TOKENS)
    changed = model.run_with_hooks(TOKENS, fwd_hooks=[("blocks.0.attn.hook_z", without), *still, frozen])
    found = direct_logit_attribution(model, TOKENS, 5, by="head", n_controls=0)
    value = found.query("layer == 0 and head == 2")["value"].item()
    assert value == pytest.approx(float((logits - changed)[:, -1, 5].mean()), rel=1e-9)


def test_a_state_is_taken_apart_by_its_units():
    model = loud(Recurrent(RecurrentConfig(cell="lstm", n_layers=2, d_model=6, d_vocab=31, bidirectional=True)))
    found = direct_logit_attribution(model, TOKENS, ANSWER, WRONG, positions=3, by="neuron", n_controls=1)
    total, logit = sums(found)
    assert total == pytest.approx(logit, abs=1e-5)
    own = found[found["variant"] == "attribution"]
    state = model.run_with_cache(TOKENS, names_filter="blocks.1.hook_out")[1]["blocks.1.hook_out"][:, 3]
    expected = state * (model.unembed.W_U[:, ANSWER] - model.unembed.W_U[:, WRONG]).T
    assert own["value"].tolist()[:-1] == pytest.approx(expected.mean(0).tolist(), abs=1e-6)
    assert own["component"].tolist() == ["state"] * 12 + ["unembed bias"]
    assert set(own["layer"].dropna()) == {1}


def others():
    shape = {"n_layers": 2, "d_model": 8, "n_heads": 2, "n_ctx": Copy().shape["n_ctx"], **OF_COPY}
    yield EncoderDecoderTransformer(EncoderDecoderTransformerConfig(pre_norm=True, **shape))
    for attention in ("none", "luong_dot", "bahdanau"):
        yield Seq2Seq(Seq2SeqConfig(cell="gru", n_layers=2, d_model=8, attention=attention, **OF_COPY))


@pytest.mark.parametrize("model", list(others()), ids=lambda model: type(model).__name__)
def test_encoder_decoders(model):
    model = loud(model).double()
    targets = SOURCE.batch(slice(None))["targets"] if SOURCE.targets is not None else None
    answer = SOURCE.tokens.roll(-1, 1).masked_fill(~SOURCE.mask, -100) if targets is None else targets
    found = direct_logit_attribution(model, SOURCE, answer, by=(*FINE, "position"), n_controls=1)
    total, logit = sums(found)
    assert total == pytest.approx(logit, abs=1e-10)
    assert found["position"].nunique() > 1


@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_models_of_the_hub(tmp_path, kind):
    model = HubModel(HubModelConfig.of(str(save_hub_model(tmp_path / kind, kind))))
    tokens = TOKENS[:2, :6]
    for by in ("layer", FINE):
        found = direct_logit_attribution(model, tokens, 7, 9, by=by, n_controls=1)
        total, logit = sums(found)
        assert total == pytest.approx(logit, rel=1e-4, abs=1e-4)
    with torch.no_grad():
        last = model(tokens)[:, -1]
    assert found["logit"][0] == pytest.approx(float((last[:, 7] - last[:, 9]).mean()), abs=1e-4)


def test_a_capped_model_of_the_hub_is_refused(tmp_path):
    model = HubModel(HubModelConfig.of(str(save_hub_model(tmp_path / "gemma", "Gemma2ForCausalLM"))))
    with pytest.raises(ValueError, match="capped by a tanh"):
        direct_logit_attribution(model, TOKENS, 5)


def test_positions_add_up_to_the_whole():
    model = subject().double()
    mask = torch.arange(8) < torch.tensor([8, 6, 8, 3])[:, None]
    data = Dataset(tokens=TOKENS * mask, mask=mask, docs=torch.tensor([0, 0, 1, 1]))
    answer = TOKENS.roll(-1, 1).masked_fill(~mask, -100)
    whole = direct_logit_attribution(model, data, answer, n_controls=0)
    apart = direct_logit_attribution(model, data, answer, by="position", n_controls=0, batch_size=3)
    assert apart["sequences"].tolist()[:: len(whole)] == mask.sum(0).tolist()
    weights = apart["position"].map(dict(enumerate(mask.sum(0).tolist()))).astype(float)
    together = (apart["value"] * weights).groupby([apart["component"], apart["layer"]], dropna=False, sort=False).sum()
    assert (together / float(mask.sum())).tolist() == pytest.approx(whole["value"].tolist(), abs=1e-12)
    assert whole[["low", "high"]].notna().all(axis=None)
    last = direct_logit_attribution(model, data, 5, n_controls=0)
    logits = model(data.tokens)[range(4), mask.sum(1) - 1, 5]
    assert last["logit"][0] == pytest.approx(float(logits.mean().detach()), rel=1e-10)


def test_batches_and_a_few_logits_at_a_time_change_nothing(monkeypatch):
    model = subject()
    whole = direct_logit_attribution(model, TOKENS, ANSWER, WRONG, by=FINE, n_controls=1)
    monkeypatch.setattr(reading_out, "_CPU_CHUNK", 31)
    apart = direct_logit_attribution(model, TOKENS, ANSWER, WRONG, by=FINE, n_controls=1, batch_size=3)
    for column in ("value", "low", "high", "logit"):
        assert apart[column].to_numpy() == pytest.approx(whole[column].to_numpy(), abs=1e-5)


def test_what_is_written_for_the_answer_stands_out_of_random_answers():
    """An embedding that is its own unembedding says the token that is read, and nothing of any other."""
    model = subject(normalization_type=None, attn_only=True, tie_word_embeddings=True, positional_embedding_type="none")
    found = beside_random(direct_logit_attribution(model, TOKENS, TOKENS[:, -1], n_controls=20))
    lines = found.set_index("part")
    assert lines.loc["embed", "value"] > lines.loc["embed", "control_high"] > lines.loc["embed", "control_low"]
    assert list(lines.index) == ["embed", "0 attention", "1 attention", "unembed bias"]
    heads = beside_random(direct_logit_attribution(model, TOKENS, 5, by=("head", "position"), n_controls=2))
    assert "1.3 attention at 7" in heads["part"].tolist()
    assert heads["part"].is_unique
    assert heads["control_low"].notna().all()


def test_something_else_that_writes_is_noticed():
    model = subject()
    edit = ("blocks.0.hook_resid_mid", lambda value, hook: value + 1.5 * value.flip(-1))
    with model.hooks(fwd_hooks=[edit]), pytest.raises(ValueError, match="something else writes"):
        direct_logit_attribution(model, TOKENS, 5)
    assert not model.training


def test_bad_input(as_in_a_script):
    model = subject()
    mask = torch.arange(8) < torch.tensor([8, 6, 8, 3])[:, None]
    padded = Dataset(tokens=TOKENS * mask, mask=mask)
    cfg = EncoderDecoderTransformerConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=20, pre_norm=False, **OF_COPY)
    recurrent = Recurrent(RecurrentConfig(cell="gru", d_model=6, d_vocab=31))
    bad = [
        (model, TOKENS, 31, {}, "answer has 31 to 31: there are 0 to 30"),
        (model, TOKENS, 5, {"wrong": -1}, "wrong has -1 to -1"),
        (model, TOKENS, ANSWER, {"wrong": 7}, "answer and wrong are both 7"),
        (model, TOKENS, ANSWER[:3], {}, r"answer is \[3\]: give one token"),
        (model, TOKENS, ANSWER.double(), {}, "must be token ids, whole numbers"),
        (model, TOKENS, TOKENS, {"positions": 3}, "leave positions out"),
        (model, TOKENS, torch.full_like(TOKENS, -100), {}, "nothing is asked"),
        (model, TOKENS, 5, {"positions": 8}, "positions run from 8 to 8: there are 0 to 7"),
        (model, padded, 5, {"positions": 7}, "position 7 of sequence 1 is padding"),
        (model, TOKENS, 5, {"by": "token"}, "by has 'token'"),
        (recurrent, TOKENS, 5, {"folded": True}, "a Recurrent cannot be folded"),
        (MLP(MLPConfig(d_in=3, d_out=2, d_mlp=4)), TOKENS, 1, {}, "a MLP has no stream of layers"),
        (EncoderDecoderTransformer(cfg), SOURCE, 1, {}, "with post-norm the stream is no sum"),
    ]
    for subject_, data, answer, more, sentence in bad:
        with pytest.raises(ValueError, match=sentence):
            direct_logit_attribution(subject_, data, answer, **more)
