"""A path carries what one component writes to one reader; every other reader is as it was."""

import numpy as np
import pytest
import torch
from transformer_lens import patching
from typechecker import unchecked

from models import Recurrent, RecurrentConfig, Transformer, TransformerConfig
from models.compiled import compiled_induction
from workbench.interventions.hook_parts import named
from workbench.interventions.path_patching import PATH_COLUMNS, path_patching

SHAPE = {"n_layers": 2, "d_model": 16, "n_heads": 2, "n_ctx": 8, "d_vocab": 20, "d_mlp": 24}
NORMS = ["LN", "RMS", None]
HEADS = [(f"blocks.{layer}.attn.hook_result", head) for layer in range(2) for head in range(2)]
SENDERS = ["hook_embed", "hook_pos_embed", *HEADS, "blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out"]
READERS = [(f"blocks.{layer}.attn.hook_{x}_input", 1) for layer in range(2) for x in "qkv"]
RECEIVERS = [*READERS, "blocks.0.hook_mlp_in", "blocks.1.hook_mlp_in", "blocks.1.hook_resid_post"]


@torch.no_grad()
def loud(**more):
    model = Transformer(TransformerConfig(**(SHAPE | more)))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.4
        parameter.copy_(noise + 1 if name.endswith(".w") else noise)
    return model.requires_grad_(False).eval()


def prompts(seed, n=3, pos=6, d_vocab=20):
    tokens = torch.randint(1, d_vocab, (n, pos), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 0
    return tokens


CLEAN, CORRUPT = prompts(1), prompts(2)


def metric(output):
    return output[:, -1, 5] - output[:, -1, 7]


def patched_by_hand(model, values, sender, receiver, frozen):
    """The metric with one path patched: every stream is written out, and nothing of ours is used."""
    node, head = (sender, None) if isinstance(sender, str) else sender
    reader, of = (receiver, None) if isinstance(receiver, str) else receiver
    change = values[0][node] - values[1][node]
    change = change if head is None else change[:, :, head]
    change[:, 0] = 0
    norms = {"attn": "ln1", "hook_mlp_in": "ln2"}
    layer = reader.split(".")[1]
    of_norm = "ln_final" if "resid_post" in reader else f"blocks.{layer}.{norms[reader.split('.')[2]]}"
    norm = model.get_submodule(of_norm)
    if not frozen or isinstance(norm, torch.nn.Identity):

        def add(value, hook):
            value = value.clone()
            (value if of is None else value[:, :, of]).add_(change)
            return value

        return metric(model.run_with_hooks(CORRUPT, fwd_hooks=[(reader, add)]))
    scale = values[1][f"{of_norm}.hook_scale"]
    centred = change - change.mean(-1, keepdim=True) if norm.centred else change
    if of is None:
        hook = (f"{of_norm}.hook_normalized", lambda value, hook: value + centred / scale)
    else:
        letter = reader.split("hook_")[1][0]
        more = centred / scale * norm.w @ getattr(model.blocks[int(layer)].attn, f"W_{letter.upper()}")[of]

        def add_to_head(value, hook):
            value = value.clone()
            value[:, :, of] += more
            return value

        hook = (reader.removesuffix("_input"), add_to_head)
    return metric(model.run_with_hooks(CORRUPT, fwd_hooks=[hook]))


@pytest.mark.parametrize("frozen", [False, True], ids=["recomputed", "frozen"])
@pytest.mark.parametrize("kind", NORMS)
def test_every_path_is_what_hooks_set_by_hand_give(kind, frozen):
    model = loud(normalization_type=kind)
    norm = "frozen" if frozen else "recomputed"
    table = path_patching(model, CLEAN, CORRUPT, metric, SENDERS, RECEIVERS, norm=norm, n_controls=0, batch_size=12)
    assert list(table.columns) == list(PATH_COLUMNS)
    assert set(table["norm"]) == {norm}
    assert len(table) == len(SENDERS) * len(RECEIVERS)
    found = table.set_index(["sender", "receiver"])["value"]
    ends = ("hook_embed", "hook_pos_embed", "hook_result", "hook_mlp_out", "hook_scale")
    read = lambda name: name.endswith(ends)  # noqa: E731
    values = [model.run_with_cache(tokens, names_filter=read)[1] for tokens in (CLEAN, CORRUPT)]
    before = metric(model(CORRUPT)).mean().item()
    changed = 0
    for sender in SENDERS:
        for receiver in filter(lambda node: comes_after(sender, node), RECEIVERS):
            with unchecked():
                expected = patched_by_hand(model, values, sender, receiver, frozen).mean().item()
            ours = found[
                tuple(node if isinstance(node, str) else f"{node[0]}[{node[1]}]" for node in (sender, receiver))
            ]
            assert ours == pytest.approx(expected, abs=2e-5, rel=1e-5), (sender, receiver)
            changed += abs(expected - before) > 1e-3
    assert changed > 25


def comes_after(sender, receiver):
    """Whether a receiver can hear a sender, in the order of the layers."""
    order = ["hook_embed", "hook_pos_embed"]
    for layer in range(2):
        order += [f"blocks.{layer}.attn.hook_{x}_input" for x in "qkv"]
        order += [f"blocks.{layer}.attn.hook_result", f"blocks.{layer}.hook_mlp_in", f"blocks.{layer}.hook_mlp_out"]
    order.append("blocks.1.hook_resid_post")
    first, second = (order.index(node if isinstance(node, str) else node[0]) for node in (sender, receiver))
    return first < second


def test_nothing_changes_where_the_receiver_comes_first():
    model = loud()
    table = path_patching(model, CLEAN, CORRUPT, metric, SENDERS, RECEIVERS)
    shown = {(s if isinstance(s, str) else f"{s[0]}[{s[1]}]"): s for s in (*SENDERS, *RECEIVERS)}
    ends = zip(table["sender"], table["receiver"], strict=True)
    later = np.array([comes_after(shown[sender], shown[receiver]) for sender, receiver in ends])
    assert (~later).sum() > 20
    assert (table.loc[~later, "effect"] == 0).all()
    alike = table["sender"] == "hook_pos_embed"  # what it writes is the same in both runs
    assert (table.loc[later & ~alike & (table["variant"] == "patch"), "effect"].abs() > 1e-6).all()
    assert (table.loc[alike, "effect"].abs() < 1e-4).all()


@torch.no_grad()
@pytest.mark.parametrize("component", ["q", "k", "v"])
def test_transformer_lens_says_the_same(component):
    model = loud(n_layers=3)
    caches = [model.run_with_cache(tokens)[1] for tokens in (CLEAN, CORRUPT)]
    theirs = patching.get_act_patch_direct_path_all_sources(
        model, CORRUPT, *caches, lambda output: metric(output).mean(), component, verbose=False
    )
    heads = [(layer, head) for layer in range(3) for head in range(2)]
    table = path_patching(
        model,
        CLEAN,
        CORRUPT,
        metric,
        [(f"blocks.{layer}.attn.hook_result", head) for layer, head in heads],
        [(f"blocks.{layer}.attn.hook_{component}_input", head) for layer, head in heads],
        n_controls=0,
        bos=True,
    )
    ours = torch.tensor(table["value"].to_numpy()).view(3, 2, 3, 2)
    for i in range(3):
        for j in range(i + 1, 3):
            torch.testing.assert_close(ours[i, :, j].float(), theirs[i, :, j], atol=2e-5, rtol=1e-4)


def test_batches_and_kinds_of_metric_change_no_number():
    model, ends = loud(), ([HEADS[0], SENDERS[6]], [READERS[4], *RECEIVERS[-2:]])
    whole = path_patching(model, CLEAN, CORRUPT, metric, *ends)
    for size, of in ((1, metric), (7, metric), (2, lambda output, batch: metric(output))):
        some = path_patching(model, CLEAN, CORRUPT, of, *ends, batch_size=size)
        torch.testing.assert_close(*(torch.tensor(t["value"].to_numpy()) for t in (whole, some)), atol=1e-5, rtol=1e-5)


def test_the_compiled_circuit_is_found_edge_by_edge():
    """Of edges whose two ends differ between the prompts, those of the circuit matter and the others do not."""
    model, circuit = compiled_induction(8, 10)
    clean = torch.tensor([[0, 3, 5, 2, 6, 3], [0, 4, 1, 7, 2, 4]])
    corrupt = torch.tensor([[0, 3, 1, 2, 6, 3], [0, 4, 6, 7, 2, 4]])  # another token follows the first
    answer, wrong = torch.tensor([5, 1]), torch.tensor([1, 6])

    def induced(output, batch):
        rows = torch.arange(len(output))
        return output[rows, -1, answer[batch["seq"]]] - output[rows, -1, wrong[batch["seq"]]]

    senders = sorted({edge.sender for edge in circuit.all_edges})
    receivers = sorted({edge.receiver for edge in circuit.all_edges})
    table = path_patching(model, clean, corrupt, induced, senders, receivers, n_controls=0)
    effect = table.set_index(["sender", "receiver"])["effect"]
    for edge in circuit.all_edges:
        here = effect[named(edge.sender), named(edge.receiver)]
        # What the copied token is goes from the embedding through the induction head alone; it looks no elsewhere.
        carries = edge in circuit.edges and (named(edge.sender), named(edge.receiver)) in {
            ("hook_embed", "blocks.1.attn.hook_v_input[0]"),
            ("blocks.1.attn.hook_result[0]", "blocks.1.hook_resid_post"),
        }
        assert here == pytest.approx(float(carries), abs=1e-5), edge


def test_what_cannot_be_done_is_one_sentence():
    model = loud()
    args = (model, CLEAN, CORRUPT, metric)
    with pytest.raises(ValueError, match="did you mean"):
        path_patching(*args, ["hook_embeds"], RECEIVERS)
    with pytest.raises(ValueError, match="is no sender"):
        path_patching(*args, ["blocks.0.hook_resid_post"], RECEIVERS)
    with pytest.raises(ValueError, match="is no receiver"):
        path_patching(*args, SENDERS, ["blocks.0.hook_resid_post"])
    with pytest.raises(ValueError, match="say which"):
        path_patching(*args, SENDERS, ["blocks.0.attn.hook_q_input"])
    with pytest.raises(ValueError, match="has no head 2"):
        path_patching(*args, SENDERS, [("blocks.0.attn.hook_q_input", 2)])
    with pytest.raises(ValueError, match="has no heads"):
        path_patching(*args, [("hook_embed", 0)], RECEIVERS)
    with pytest.raises(ValueError, match="no receiver was named"):
        path_patching(*args, SENDERS, [])
    with pytest.raises(ValueError, match="positions, not the same"):
        path_patching(model, CLEAN, CORRUPT[:, :5], metric, SENDERS, RECEIVERS)
    with pytest.raises(ValueError, match="no gap"):
        path_patching(model, CLEAN, CLEAN, metric, SENDERS, RECEIVERS)
    with pytest.raises(ValueError, match="decoder-only"):
        path_patching(
            Recurrent(RecurrentConfig(cell="gru", d_vocab=20, d_model=8)), CLEAN, CORRUPT, metric, SENDERS, RECEIVERS
        )
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_the_norm_must_be_named_rightly(as_in_a_script):
    with pytest.raises(ValueError, match="'recomputed' or 'frozen'"):
        path_patching(loud(), CLEAN, CORRUPT, metric, SENDERS, RECEIVERS, norm="thawed")
