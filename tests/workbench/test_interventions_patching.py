"""Activation patching: what every patch gives is what a run gives in which somebody makes it by hand."""

import numpy as np
import pytest
import torch
from hub_folders import save_hub_model
from transformer_lens import patching
from typechecker import unchecked

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
    at_pos,
    replace_at,
)
from models.hub import HubModel, HubModelConfig
from models.step_hooks import pos_dim_of
from models.transformer import Block
from workbench.interventions import Subspace
from workbench.interventions import metrics as metrics_of
from workbench.interventions.metrics import LogitDifference, TargetLoss
from workbench.interventions.patching import COLUMNS, DIRECTION, PATCH, activation_patching

V, N, T, D, HEADS = 20, 3, 8, 8, 2
SHAPES = {
    "GPT's": {},
    "no norm": {"normalization_type": None},
    "attention-only": {"attn_only": True, "positional_embedding_type": "sinusoidal"},
    "Llama's": {
        "positional_embedding_type": "rotary",
        "normalization_type": "RMS",
        "gated_mlp": True,
        "act_fn": "silu",
        "tie_word_embeddings": True,
    },
    "SoLU": {"act_fn": "solu_ln"},
}


def loud(model, seed=1):
    """Weights so large that every hook matters to the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.eval()


def transformer(**more):
    shape = {"n_layers": 2, "d_model": D, "n_heads": HEADS, "d_mlp": 12, "n_ctx": T, "d_vocab": V}
    return loud(Transformer(TransformerConfig(**(shape | more))))


def tokens(seed, n=N, pos=T):
    drawn = torch.randint(1, V, (n, pos), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = 0
    return drawn


CLEAN, CORRUPT = tokens(1), tokens(2)
ANSWER, WRONG = torch.tensor([3, 4, 5]), torch.tensor([6, 7, 8])
LAST = LogitDifference(ANSWER, WRONG, torch.full((N,), T - 1))
APART = LogitDifference(ANSWER, WRONG, torch.tensor([T - 1, 2, 5]))


def of_output(output):
    """A metric of the output alone, which only the whole of it, in order, gives."""
    rows = torch.arange(len(output))
    return output[rows, -1, ANSWER[: len(output)]] - 0.3 * output[:, 1:, 2].mean(1)


def squares(output, batch):
    """A metric of anything that comes out."""
    return output.flatten(1).square().mean(1)


@pytest.fixture(scope="module")
def model():
    return transformer()


def effects(table, variant=PATCH):
    return torch.tensor(table.loc[table.variant == variant, "effect"].to_numpy())


def called_with(data):
    return {name: value for name, value in data.batch(slice(None)).items() if name != "targets"}


def by_hand(model, value, clean, corrupt, metric, line, where):
    """The metric of each sequence where the clean run's values are put at one line's place, by a hook of our own."""
    axis = pos_dim_of(model.hook_dict[line.hook])
    mask = where if line.position is None else where & (torch.arange(where.shape[1]) == line.position)

    def put(current, hook):
        first = hook.ctx["t"] if current.shape[axis] == 1 and "t" in hook.ctx else 0
        here = slice(first, first + current.shape[axis])
        new = current.clone()
        mine, theirs = new.movedim(axis, 1), value.movedim(axis, 1)[:, here]
        part = torch.ones(mine.shape[2:], dtype=torch.bool)
        if line.head is not None:
            part &= (torch.arange(part.shape[0]) == line.head)[:, None]
        if line.unit is not None:
            part &= torch.arange(part.shape[-1]) == line.unit
        chosen = mask[:, here].view(*mask[:, here].shape, *[1] * part.ndim) & part
        mine[:] = torch.where(chosen, theirs, mine)
        return new

    with unchecked():
        output = model.run_with_hooks(**called_with(corrupt), fwd_hooks=[(line.hook, put)])
    return metrics_of.measured(metric, output, clean.batch(slice(None)) | {"seq": torch.arange(len(clean))})


@torch.no_grad()
def check_by_hand(model, clean, corrupt, metric, hooks, **how):
    """Every line against a run by hand; and some patch must matter."""
    table = activation_patching(model, clean, corrupt, metric, hooks, n_controls=0, **how)
    as_none = table.astype(object).where(table.notna(), None)
    axis = model.position_axis if hasattr(model, "position_axis") else lambda hook: "target"
    values = model.run_with_cache(**called_with(clean), names_filter=hooks, return_cache_object=False)[1]
    for line in as_none.itertuples():
        seen = clean.on_axis(axis(line.hook))
        where = seen.mask if how.get("bos") else seen.counted
        value = by_hand(model, values[line.hook], clean, corrupt, metric, line, where).double()
        patched = where.any(1) if line.position is None else where[:, line.position]
        assert line.sequences == int(patched.sum())
        np.testing.assert_allclose(line.value, value[patched].mean(), rtol=1e-4, atol=1e-4, err_msg=str(line))
    assert (table.value - table.corrupt).abs().max() > 1e-4
    return table


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_patch_at_any_hook_of_a_transformer_is_one_made_by_hand(shape):
    model, clean, corrupt = transformer(**shape), Dataset(CLEAN), Dataset(CORRUPT)
    last = [name for name in model.hook_dict if ".1." in name]
    check_by_hand(model, clean, corrupt, APART, last, by=("position",), positions=[2], batch_size=10)
    inside = [name for name in model.hook_dict if ".0." in name or not name.startswith("blocks")]
    check_by_hand(model, clean, corrupt, APART, inside, by=(), bos=True, batch_size=16)


@pytest.mark.parametrize("metric", [LAST, of_output, TargetLoss()], ids=["last", "opaque", "loss"])
def test_whatever_is_measured(model, metric):
    hooks = [f"blocks.{layer}.{name}" for layer, name in enumerate(("attn.hook_k", "mlp.hook_pre"))]
    check_by_hand(model, Dataset(CLEAN), Dataset(CORRUPT), metric, hooks, positions=[1, 6], batch_size=7)


@pytest.mark.parametrize("by", [("head",), ("position", "head"), ("unit",), ("head", "unit", "position")])
def test_heads_and_units_are_patched_one_at_a_time(model, by):
    hooks = [f"blocks.1.attn.hook_{name}" for name in ("q", "z", "pattern")]
    some = {"positions": [3, 5], "units": [1, 3]}
    how = {name: numbers for name, numbers in some.items() if name.removesuffix("s") in by}
    check_by_hand(model, Dataset(CLEAN), Dataset(CORRUPT), APART, hooks, by=by, **how)
    if "head" not in by:
        check_by_hand(model, Dataset(CLEAN), Dataset(CORRUPT), APART, "blocks.0.mlp.hook_post", by=by, **how)


SHAPE = {"d_vocab": V, "d_vocab_source": V}


def to_translate(seed):
    """Sources, not all as long, each with a target."""
    mask = torch.arange(6) < torch.tensor([6, 4, 5])[:, None]
    return Dataset(tokens(seed), source=tokens(seed + 10, pos=6) * mask, source_mask=mask)


def others():
    """Subjects of other kinds, each with a hook, and clean and corrupt sequences."""
    seq2seq = {"cell": "lstm", "d_model": D, **SHAPE}
    vectors = [Dataset(torch.randn(N, T, 3, generator=torch.Generator().manual_seed(s))) for s in (1, 2)]
    texts = [Dataset(x) for x in (CLEAN, CORRUPT)]
    for cell in ("rnn", "lstm", "gru", "mingru"):
        yield (
            cell,
            Recurrent(RecurrentConfig(cell=cell, d_model=D, n_layers=2, d_vocab=V)),
            "blocks.0.rnn.hook_h",
            texts,
        )
    both_ways = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_in=3, d_out=2, bidirectional=True))
    yield "gate", Recurrent(RecurrentConfig(cell="lstm", d_model=D, d_vocab=V)), "blocks.0.rnn.hook_f", texts
    yield "both ways", both_ways, "blocks.0.rnn_reverse.hook_h", vectors
    aligned = [to_translate(seed) for seed in (1, 2)]
    for attention in ("bahdanau", "luong_general"):
        yield attention, Seq2Seq(Seq2SeqConfig(attention=attention, **seq2seq)), "encoder_blocks.0.rnn.hook_c", aligned
        yield attention, Seq2Seq(Seq2SeqConfig(attention=attention, **seq2seq)), "attn.hook_pattern", aligned
    cfg = EncoderDecoderTransformerConfig(n_layers=1, d_model=D, n_heads=HEADS, d_mlp=12, n_ctx=T, **SHAPE)
    for hook in (
        "encoder_blocks.0.hook_resid_post",
        "decoder_blocks.0.cross_attn.hook_z",
        "decoder_blocks.0.hook_mlp_out",
    ):
        yield hook, EncoderDecoderTransformer(cfg), hook, aligned
    yield "perceptron", MLP(MLPConfig(d_mlp=D, d_in=3, d_out=2)), "blocks.0.mlp.hook_post", vectors


OTHERS = list(others())


@pytest.mark.parametrize(("subject", "hook", "data"), [o[1:] for o in OTHERS], ids=[f"{o[0]}-{o[2]}" for o in OTHERS])
def test_a_patch_of_any_subject_at_any_position_or_step_is_one_made_by_hand(subject, hook, data):
    subject, (clean, corrupt) = loud(subject), data
    assert len(clean) > 1
    check_by_hand(subject, clean, corrupt, squares, hook, positions=[2, 4], batch_size=10)
    check_by_hand(subject, clean, corrupt, squares, hook, by=(), batch_size=2)


def test_the_patch_of_a_step_is_what_later_steps_go_on_from():
    subject = loud(Recurrent(RecurrentConfig(cell="gru", d_model=D, d_vocab=V)))
    places = {"positions": [1, 4, T - 1], "n_controls": 0}
    table = activation_patching(subject, CLEAN, CORRUPT, LAST, "blocks.0.rnn.hook_h", **places)
    value = subject.run_with_cache(CLEAN)[1]["blocks.0.rnn.hook_h"]
    for line in table.itertuples():
        t = int(line.position)
        hook = at_pos(lambda _, hook: value[:, hook.ctx["t"], None], t)
        output = subject.run_with_hooks(CORRUPT, fwd_hooks=[("blocks.0.rnn.hook_h", hook)])
        expected = LAST(output, {"seq": torch.arange(N)}).mean()
        assert line.value == pytest.approx(float(expected), abs=1e-5)
        both = replace_at(value, torch.arange(T) == t)
        again = subject.run_with_hooks(CORRUPT, fwd_hooks=[("blocks.0.rnn.hook_h", both)])
        torch.testing.assert_close(again, output)
    # The whole state of the last step is all that the last output is read from.
    assert table.effect.iloc[-1] == pytest.approx(1, abs=1e-5)
    assert table.effect.iloc[0] != pytest.approx(1, abs=1e-2)


def test_a_model_of_the_hub_is_patched_as_any_other(tmp_path):
    folder = save_hub_model(tmp_path / "gpt2", "GPT2LMHeadModel")
    subject = HubModel(HubModelConfig.of(f"hf:{folder}", n_ctx=T))
    data = [
        Dataset(torch.cat([torch.full((N, 1), subject.bos), x[:, 1:]], 1), bos=subject.bos) for x in (CLEAN, CORRUPT)
    ]
    check_by_hand(subject, *data, LAST, ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z"], positions=[3])


SWEEPS = [
    (patching.get_act_patch_resid_pre, "hook_resid_pre", ("position",)),
    (patching.get_act_patch_resid_mid, "hook_resid_mid", ("position",)),
    (patching.get_act_patch_attn_out, "hook_attn_out", ("position",)),
    (patching.get_act_patch_mlp_out, "hook_mlp_out", ("position",)),
    (patching.get_act_patch_attn_head_out_by_pos, "attn.hook_z", ("position", "head")),
    (patching.get_act_patch_attn_head_k_by_pos, "attn.hook_k", ("position", "head")),
    (patching.get_act_patch_attn_head_out_all_pos, "attn.hook_z", ("head",)),
    (patching.get_act_patch_attn_head_q_all_pos, "attn.hook_q", ("head",)),
    (patching.get_act_patch_attn_head_pattern_all_pos, "attn.hook_pattern", ("head",)),
]


@pytest.mark.parametrize(("theirs", "hook", "by"), SWEEPS, ids=[f"{s[1]}-{'-'.join(s[2])}" for s in SWEEPS])
@pytest.mark.parametrize("metric", [LAST, of_output], ids=["resumed at a position", "resumed"])
def test_sweeps_are_transformer_lenss(theirs, hook, by, metric):
    model = transformer(dtype=torch.float64)
    seq = {"seq": torch.arange(N)}
    ends = [metrics_of.measured(metric, model(x), {"input": x} | seq).mean() for x in (CLEAN, CORRUPT)]

    def normalised(logits):
        value = metrics_of.measured(metric, logits, {"input": CLEAN} | seq).mean()
        return (value - ends[1]) / (ends[0] - ends[1])

    with torch.no_grad(), unchecked():
        expected = theirs(model, CORRUPT, model.run_with_cache(CLEAN)[1], normalised)
    hooks = [f"blocks.{layer}.{hook}" for layer in (0, 1)]
    table = activation_patching(model, CLEAN, CORRUPT, metric, hooks, by=by, n_controls=0, bos=True)
    torch.testing.assert_close(effects(table).view(expected.shape), expected.double(), atol=1e-6, rtol=1e-6)


def test_with_hooks_of_ones_own_everything_is_run_and_the_numbers_are_the_same(model):
    hooks = [name for name in model.hook_dict if name.startswith("blocks.1")]
    how = {"by": ("position",), "positions": [0, 4], "bos": True}
    resumed = activation_patching(model, CLEAN, CORRUPT, APART, hooks, **how)
    seen = []
    with model.hooks(fwd_hooks=[("hook_embed", lambda value, hook: seen.append(len(value)))]):
        run_whole = activation_patching(model, CLEAN, CORRUPT, APART, hooks, **how)
    assert sum(seen) > N * len(resumed)  # every patch ran from the embedding on
    for column in ("value", "effect", "effect_low", "effect_high"):
        np.testing.assert_allclose(resumed[column], run_whole[column], atol=2e-5)
    with model.hooks(fwd_hooks=[("blocks.1.hook_mlp_out", lambda value, hook: value * 0)]):
        without = activation_patching(model, CLEAN, CORRUPT, LAST, "blocks.1.hook_mlp_out", n_controls=0)
    assert (without.clean != resumed.clean[0]).all()


@pytest.mark.parametrize(("metric", "by"), [(LAST, ("position",)), (of_output, ("position",)), (of_output, ())])
def test_how_many_sequences_share_a_pass_changes_nothing(metric, by):
    model = transformer(dtype=torch.float64)
    hooks = ["blocks.1.hook_resid_pre", "blocks.0.attn.hook_pattern", "blocks.1.attn.hook_z"]
    tables = [
        activation_patching(model, CLEAN, CORRUPT, metric, hooks, by=by, batch_size=size, positions=[2, 7])
        for size in (1, 5, 64)
    ]
    for other in tables[1:]:
        np.testing.assert_allclose(tables[0].effect, other.effect, rtol=1e-8, atol=1e-8)


def test_only_what_a_patch_can_change_is_run(model, monkeypatch):
    read, forward = [], Block.forward
    monkeypatch.setattr(
        Block, "forward", lambda self, x, *a, **k: read.append(x.shape[:2]) or forward(self, x, *a, **k)
    )
    activation_patching(
        model, CLEAN, CORRUPT, LAST, ["blocks.1.hook_resid_pre"], positions=[T - 2], n_controls=0, batch_size=4
    )
    assert read == [(N, T)] * 4 + [(N, 2)]  # both runs, and of the patched one the last block at the last two positions
    read.clear()
    activation_patching(model, CLEAN, CORRUPT, of_output, "blocks.0.attn.hook_z", batch_size=2, positions=[5])
    assert max(rows for rows, _ in read) == 2


def test_everything_at_one_layer_is_the_clean_run_and_what_comes_before_a_difference_is_none(model):
    data, start = Dataset(CLEAN), CLEAN.clone()
    start[:, 4:] = CORRUPT[:, 4:]
    for hook in ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post", "hook_embed"):
        table = activation_patching(model, data, CORRUPT, APART, hook, by=(), bos=True)
        assert table.variant.tolist() == [PATCH, DIRECTION]
        assert table.effect[0] == pytest.approx(1, abs=1e-5)
        assert table.effect[1] != pytest.approx(1, abs=1e-2)
    table = activation_patching(model, data, start, LAST, ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"])
    before = table[table.position < 4]
    assert len(before) == 2 * 2 * 3
    np.testing.assert_allclose(before.effect, 0, atol=1e-5)
    assert table[(table.position == T - 1) & (table.layer == 1) & (table.variant == PATCH)].effect.abs().item() > 1e-3


@pytest.mark.parametrize("by", [("position",), ("position", "head"), ("position", "unit")])
def test_a_control_moves_each_row_as_far_in_another_direction(by):
    """Told from the output: with one block, no norm and a linear read-out, what is added to z shows in the logits."""
    model = transformer(n_layers=1, attn_only=True, normalization_type=None, d_head=D, n_heads=1, d_vocab=V)
    with torch.no_grad():
        model.blocks[0].attn.W_O.copy_(torch.eye(D)[None])
        model.unembed.W_U.copy_(torch.eye(D, V))
        model.unembed.b_U.zero_()
    rows = []

    def record(output, batch):
        rows.append(output[:, 5, :D].clone())
        return output[:, 5, 0]

    activation_patching(
        model, CLEAN, CORRUPT, record, "blocks.0.attn.hook_z", by=by, positions=[5], units=[2, 5], n_controls=3
    )
    corrupt = rows[1]
    moved = torch.cat(rows[2:]).unflatten(0, (-1, N)) - corrupt  # each unit's patch and then its controls
    moved = moved.unflatten(0, (-1, 4))
    size = moved.norm(dim=-1)
    assert (size > 1e-2).all()
    torch.testing.assert_close(size, size[:, :1].expand_as(size), rtol=1e-4, atol=1e-5)
    units = {2, 5}
    for patch, *controls in moved:
        touched = {u for u in range(D) if patch[:, u].abs().max() > 1e-4}
        assert touched
        assert touched <= units
        for control in controls:
            cosine = torch.nn.functional.cosine_similarity(patch, control, dim=-1)
            assert not torch.allclose(cosine, torch.ones(N), atol=1e-2)
    assert (moved[:, 1] - moved[:, 2]).abs().max() > 1e-2


def test_controls_of_patterns_see_nothing_that_comes_later():
    model = transformer()
    swapped = CORRUPT.clone()
    swapped[:, 5:] = CLEAN[:, 5:]
    early = LogitDifference(ANSWER, WRONG, torch.full((N,), 4))
    hooks = ["blocks.0.attn.hook_pattern", "blocks.0.attn.hook_attn_scores"]
    first, second = (
        activation_patching(model, CLEAN, corrupt, early, hooks, positions=[3, 4]) for corrupt in (CORRUPT, swapped)
    )
    np.testing.assert_allclose(first.value, second.value, atol=1e-5)
    assert (first.loc[first.variant == DIRECTION, "effect"].abs() > 1e-4).any()


def test_within_a_subspace_only_its_coordinates_are_the_clean_runs(model):
    hook, line = (
        "blocks.1.hook_resid_pre",
        Subspace.along(torch.randn(2, D, generator=torch.Generator().manual_seed(3))),
    )
    table = activation_patching(model, CLEAN, CORRUPT, LAST, hook, positions=[3, 7], within=line, n_controls=1)
    (value,) = model.run_with_cache(CLEAN, names_filter=hook)[1].values()
    for patch in table[table.variant == PATCH].itertuples():

        def put(x, hook, t=patch.position):
            change = (line.coordinates(value[:, t]) - line.coordinates(x[:, t])) @ line.write.float()
            new = x.clone()
            new[:, t] = x[:, t] + change
            return new

        expected = LAST(model.run_with_hooks(CORRUPT, fwd_hooks=[(hook, put)]), {"seq": torch.arange(N)}).mean()
        assert patch.value == pytest.approx(float(expected), abs=1e-5)
    everything = Subspace.along(torch.eye(D))
    whole, all_of_it = (
        activation_patching(model, CLEAN, CORRUPT, LAST, hook, within=within) for within in (None, everything)
    )
    np.testing.assert_allclose(whole.value, all_of_it.value, atol=1e-5)
    heads = "blocks.0.attn.hook_z"
    apart = Subspace.along(torch.eye(D // HEADS))
    one, other = (
        activation_patching(model, CLEAN, CORRUPT, LAST, heads, by=("head",), within=within, n_controls=0)
        for within in (None, apart)
    )
    np.testing.assert_allclose(one.value, other.value, atol=1e-5)
    together = activation_patching(model, CLEAN, CORRUPT, LAST, heads, by=(), within=everything, n_controls=0)
    np.testing.assert_allclose(
        together.value, activation_patching(model, CLEAN, CORRUPT, LAST, heads, by=(), n_controls=0).value, atol=1e-5
    )


def test_padding_and_bos_stay_and_a_line_counts_the_sequences_that_have_its_position(model):
    mask = torch.arange(T) < torch.tensor([T, 5, 3])[:, None]
    clean, corrupt = (Dataset(x * mask, mask) for x in (CLEAN, CORRUPT))
    metric = LogitDifference(ANSWER, WRONG, mask.sum(1) - 1)
    hooks = ["blocks.0.hook_resid_pre", "blocks.1.attn.hook_z"]
    table = check_by_hand(model, clean, corrupt, metric, hooks)
    assert table[table.hook == hooks[0]].set_index("position").sequences.to_dict() == {
        1: 3, 2: 3, 3: 2, 4: 2, 5: 1, 6: 1, 7: 1
    }  # fmt: skip
    ends = {
        x: metric(model(data.tokens), {"seq": torch.arange(N)}) for x, data in (("clean", clean), ("corrupt", corrupt))
    }
    line = table[(table.position == 4) & (table.layer == 1)].iloc[0]
    assert line.clean == pytest.approx(float(ends["clean"][:2].mean()), abs=1e-5)
    assert line.effect == pytest.approx((line.value - line.corrupt) / (line.clean - line.corrupt), abs=1e-6)
    alone = table[table.position == 7]
    assert alone[["low", "high", "effect_low", "effect_high"]].isna().all(None)
    assert table[table.position == 1][["low", "effect_high"]].notna().all(None)
    assert ((table.effect_low <= table.effect) & (table.effect <= table.effect_high))[table.sequences > 1].all()


def test_the_table_says_where_everything_was(model):
    hooks = ["blocks.1.attn.hook_z", "hook_embed"]
    table = activation_patching(
        model,
        CLEAN,
        CORRUPT,
        LAST,
        hooks[:1],
        by=("position", "head"),
        positions=[4, 2],
        heads=[1],
        n_controls=2,
        seed=7,
    )
    assert tuple(table.columns) == COLUMNS
    places = table[["position", "seed"]].astype(object)
    assert places.where(places.notna(), None).values.tolist() == [
        [2, None], [2, 7], [2, 8], [4, None], [4, 7], [4, 8]
    ]  # fmt: skip
    assert table.unit.isna().all()
    assert set(table["head"]) == set(table.layer) == {1}
    assert {str(table[c].dtype) for c in ("layer", "head", "position", "unit", "seed", "sequences")} == {"Int64"}
    again = activation_patching(
        model, CLEAN, CORRUPT, LAST, hooks[:1], by=("head",), positions=[4, 2], heads=[1], n_controls=0
    )
    assert again.position.isna().all()
    assert activation_patching(model, CLEAN, CORRUPT, LAST, hooks[1:], by=()).layer.isna().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_in_any_precision_and_without_gradients(dtype):
    model = transformer(dtype=dtype)
    seen = []

    def metric(output, batch):
        seen.append((output.dtype, output.requires_grad))
        return LAST(output, batch)

    table = activation_patching(model, CLEAN, CORRUPT, metric, ["blocks.0.hook_resid_pre", "blocks.1.mlp.hook_post"])
    assert set(seen) == {(dtype, False)}
    assert table.value.notna().all()
    assert all(p.grad is None for p in model.parameters())
    assert activation_patching(model, CLEAN, CORRUPT, LAST, "blocks.1.hook_resid_pre", by=(), bos=True).effect[
        0
    ] == pytest.approx(1, abs=1e-9 if dtype == torch.float64 else 0.1)


RESID, Z = "blocks.0.hook_resid_pre", "blocks.0.attn.hook_z"
LONGER = tokens(3, pos=T - 1)
REFUSED = {
    "unequal numbers": ({"clean": CLEAN[:2]}, "2 clean sequences and 3 corrupt ones"),
    "unequal lengths": ({"corrupt": LONGER}, r"\[8\] and \[7\] positions"),
    "no gap": ({"corrupt": CLEAN}, "there is no gap to restore"),
    "an unknown hook": ({"hooks": "blocks.0.hook_resid_pro"}, "did you mean blocks.0.hook_resid_pre"),
    "a predicate that matches none": ({"hooks": lambda name: False}, "matches none"),
    "no hooks": ({"hooks": []}, "matches none"),
    "an unknown part": ({"by": ("layer",)}, "by has 'layer'"),
    "heads of a hook without": ({"by": ("head",)}, "has no heads"),
    "some heads of a hook without": ({"heads": [0]}, "has no heads"),
    "a head that is not there": ({"hooks": Z, "heads": [2]}, "has no head 2: they are numbered 0 to 1"),
    "a unit that is not there": ({"units": [-1]}, "has no unit -1: they are numbered 0 to 7"),
    "no units": ({"units": []}, "was given no units"),
    "a position that is not there": ({"positions": [T]}, "no position 8"),
    "BOS alone": ({"positions": [0]}, "nothing but BOS"),
    "no positions": ({"positions": []}, "no position was chosen"),
    "directions of another width": ({"within": Subspace.along(torch.eye(3))}, "directions are of 3 numbers"),
    "units within": ({"within": Subspace.along(torch.eye(D)), "by": ("unit",)}, "within takes whole rows"),
    "no sequences a pass": ({"batch_size": 0}, "batch_size is 0"),
    "fewer controls than none": ({"n_controls": -1}, "n_controls is -1"),
    "a metric of another shape": ({"metric": lambda output: output.sum()}, "it must give a tensor"),
}


@pytest.mark.parametrize(("wrong", "said"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_sentence(model, wrong, said, as_in_a_script):
    given = {"clean": CLEAN, "corrupt": CORRUPT, "metric": LAST, "hooks": RESID} | wrong
    with pytest.raises(ValueError, match=said):
        activation_patching(model, **given)


@pytest.mark.parametrize("training", [False, True])
def test_whatever_is_raised_inside_the_subject_is_left_as_it_was(training):
    model, calls = transformer().train(training), []

    def own(value, hook):
        pass

    model.add_hook("blocks.1.hook_mlp_out", own)
    weights = {name: value.clone() for name, value in model.state_dict().items()}

    def metric(output, batch):
        calls.append(model.training)
        value = LAST(output, batch)
        return value if len(calls) < 4 else value * torch.nan

    with pytest.raises(ValueError, match="NaN"):
        activation_patching(model, CLEAN, CORRUPT, metric, [RESID, Z], batch_size=3)
    assert calls == [False] * 4
    assert model.training == training
    attached = {name: len(point.fwd_hooks) for name, point in model.hook_dict.items() if point.fwd_hooks}
    assert attached == {"blocks.1.hook_mlp_out": 1}
    model.reset_hooks()
    calls.clear()
    with pytest.raises(ValueError, match="NaN"):
        activation_patching(model, CLEAN, CORRUPT, metric, [RESID, Z], batch_size=3)
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_nan_in_a_run_is_named_where_it_stands(model):
    with model.hooks(fwd_hooks=[(Z, lambda value, hook: value * torch.nan)]), pytest.raises(ValueError, match="NaN"):
        activation_patching(model, CLEAN, CORRUPT, LAST, Z)
