"""Activation patching: what every patch gives is what a run gives in which somebody makes it by hand."""

import numpy as np
import pytest
import torch
from hub_folders import save_hub_model
from patched_by_hand import (
    ANSWER,
    APART,
    CLEAN,
    CORRUPT,
    HEADS,
    LAST,
    SHAPES,
    WRONG,
    D,
    N,
    T,
    V,
    check_by_hand,
    effects,
    loud,
    of_output,
    squares,
    tokens,
    transformer,
)
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
    at_pos,
    replace_at,
)
from models.hub import HubModel, HubModelConfig
from models.transformer import Block
from workbench.interventions import Subspace
from workbench.interventions import metrics as metrics_of
from workbench.interventions.metrics import LogitDifference, TargetLoss
from workbench.interventions.patching import COLUMNS, DIRECTION, PATCH, activation_patching


@pytest.fixture(scope="module")
def model():
    return transformer()


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


def test_where_one_position_is_read_nothing_else_is_written_behind_the_last_block_or_read_out(model, monkeypatch):
    read, written, read_out = [], [], []
    forward, after_reading = Block.forward, Block.after_reading
    monkeypatch.setattr(
        Block, "forward", lambda self, x, *a, **k: read.append(x.shape[:2]) or forward(self, x, *a, **k)
    )
    monkeypatch.setattr(
        Block, "after_reading", lambda self, x, z: written.append(x.shape[:2]) or after_reading(self, x, z)
    )
    watched = model.unembed.register_forward_pre_hook(lambda module, given: read_out.append(given[0].shape[:2]))
    hooks = ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]
    activation_patching(model, CLEAN, CORRUPT, LAST, hooks, by=("head",), n_controls=0, bos=True)
    watched.remove()
    assert read == [(2 * N, T)] * 2 + [
        (HEADS * N, T)
    ]  # both runs together, and the last block under the first's patches
    assert written == [(HEADS * N, T), (HEADS * N, 1)]
    assert read_out == [(N, 1), (N, 1), (2 * HEADS, N)]


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
    assert alone[["low", "high", "effect_low", "effect_high"]].isna().all(axis=None)
    assert table[table.position == 1][["low", "effect_high"]].notna().all(axis=None)
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
