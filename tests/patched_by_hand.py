"""Small subjects to patch, and what a patch gives that somebody makes by hand."""

import numpy as np
import torch
from typechecker import unchecked

from models import (
    Transformer,
    TransformerConfig,
)
from models.step_hooks import pos_dim_of
from workbench.interventions import metrics as metrics_of
from workbench.interventions.metrics import LogitDifference
from workbench.interventions.patching import PATCH, activation_patching

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
