# %% [markdown]
# # The induction circuit, from a pattern to a proof
#
# A sequence of random tokens that is repeated can be completed in its second half: look for the last time that this
# token came, and say what came after it then. Two layers of attention learn to, by two heads in a row (Elhage et al.
# 2021; Olsson et al. 2022): one looks at the token before, and writes what it saw; another looks for a place where
# *that* is the token it stands on, and copies the token there. Each sentence of this is tested here: what heads look
# at, what their weights say, and, since a pattern is only a hypothesis, what happens when a link is cut.
#
# Run it cell by cell, or with `python docs/examples/induction_circuit.py`. It leaves a run and its figures in the
# folder named by the environment variable `FOLDER` (a new temporary one where there is none).

# %%
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from models import Dataset, recipes, train
from models.tasks import induction_pairs
from workbench.attention import composition_scores, copying_scores, head_importance, head_scores
from workbench.figures import component_bars, composition_map, patching_map
from workbench.figures import head_scores as head_figure
from workbench.interventions import (
    LogitDifference,
    activation_patching,
    agreement,
    attribution_patching,
    beside_random,
    direct_logit_attribution,
    path_patching,
)
from workbench.runs import Run

folder = Path(os.environ.get("FOLDER") or tempfile.mkdtemp())

# %% [markdown]
# ## A subject and its controls
#
# Two layers of attention without MLPs, trained on repeats. Beside it stand the same before its training, and one layer
# trained in the same way, which must fail: one head cannot look for what another has to write first.

# %%
recipe = recipes.get("induction-heads")
data = recipe.data()


def trained(name: str, n_layers: int):
    run = folder / name
    chosen = replace(recipe, model=recipe.model | {"n_layers": n_layers})
    train(chosen.build(data), data, chosen.training, run=run, task=chosen.task)
    return Run.open(run)


two, one = trained("two-layers", 2), trained("one-layer", 1)
model, untrained = two.model(), two.model(step=0)
held_out = Dataset(tokens=data.split("test").tokens[:256])

# %% [markdown]
# ## What heads look at
#
# `head_scores` reads each layer's pattern once: here on the repeats that the subject was trained for. The control is
# the subject before its training: what such an architecture gives by itself.

# %%
scores = head_scores(
    model, held_out, untrained=untrained, patterns=["previous_token", "induction"], random_repeats=False
)
for line in scores.itertuples():
    print(f"{line.score:15s} head {line.layer}.{line.head}   {line.value:.3f}   untrained {line.control_high:.3f}")


def best(score: str, layer: int) -> int:
    of_layer = scores[(scores["score"] == score) & (scores["layer"] == layer)]
    return int(of_layer.loc[of_layer["value"].idxmax(), "head"])


looks_back, repeats = best("previous_token", 0), best("induction", 1)

# %% [markdown]
# ## What the weights say
#
# A head copies where every token raises its own logit: the eigenvalues of its OV circuit over tokens are positive. It
# reads another head through its keys where ‖W_OV W_QKᵀ‖ is larger than random matrices of these shapes give, which is
# never zero: a composition score means nothing without them.

# %%
copying = copying_scores(model, untrained=untrained)
print("copying")
print(copying[["layer", "head", "value", "random_high", "untrained"]].round(3).to_string(index=False))
composition = composition_scores(model, untrained=untrained)
to = composition[(composition["to_layer"] == 1) & (composition["to_head"] == repeats)]
print(f"what head 1.{repeats} reads of the first layer: composition beside random matrices")
print(to[["kind", "from_head", "value", "random_high", "percentile"]].round(3).to_string(index=False))

# %% [markdown]
# ## What is lost without them
#
# A pattern is a hypothesis. Each head in turn is put to its mean at each position, which takes away what it says of
# tokens; beside it stands a change as large in a random direction. The loss is over all positions, half of which
# nobody could predict.

# %%
lost = head_importance(model, held_out, ablation="position mean")
for line in lost.itertuples():
    print(f"{line.ablation}, {line.variant:16s} head {line.layer}.{line.head}   loss {line.effect:+.3f} nats")

# %% [markdown]
# ## Where the answer comes from
#
# Pairs of sequences with the same tokens, of which two have changed places, so that another token came after the one
# that is asked about. What of the clean run brings the clean answer back when it is put into the corrupt one carries
# what came after: 0 is the corrupt run, 1 the clean one.

# %%
pairs = induction_pairs(recipe.task, 64)
asked = LogitDifference.of(pairs)
outputs = ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]
heads = activation_patching(model, pairs.clean, pairs.corrupt, asked, outputs, by=("head",))
for line in heads.itertuples():
    print(f"{line.variant:16s} head {line.layer}.{line.head}   restores {line.effect:.3f}")

# Every place at once, estimated from two runs and one pass back, and how well the estimate agrees with patches.
estimated, patched = (
    patch(model, pairs.clean, pairs.corrupt, asked, outputs, by=("position", "head"))
    for patch in (attribution_patching, activation_patching)
)
print("attribution patching against patching, by position and head")
print(agreement(estimated, patched).query("variant == 'attribution'").round(3).to_string(index=False))

# %% [markdown]
# ## Each link by itself
#
# Path patching changes what one reader reads of one writer, and nothing else. If the story is true, what the first
# head writes matters to the second one's keys, and not to its queries or values; and what the second writes matters to
# the logits.

# %%
links = path_patching(
    model,
    pairs.clean,
    pairs.corrupt,
    asked,
    [("blocks.0.attn.hook_result", head) for head in range(model.cfg.n_heads)],
    [(f"blocks.1.attn.hook_{reads}_input", repeats) for reads in "qkv"],
)
for line in links.itertuples():
    print(f"{line.variant:16s} {line.sender} → {line.receiver}   {line.effect:.3f}   (norm {line.norm})")

# %% [markdown]
# ## What the heads add to the answer
#
# The logit is a sum over parts: the embedding, each head, the biases. The parts add up to it exactly.

# %%
parts = direct_logit_attribution(model, pairs.clean, pairs.answer, pairs.wrong, positions=pairs.position, by="head")
table = beside_random(parts)
print("added to the logit difference, and to random ones")
print(table[["part", "value", "control_low", "control_high"]].round(2).to_string(index=False))
print(f"together {table['value'].sum():.4f}, the logit difference {table['logit'].iloc[0]:.4f}")

# %% [markdown]
# ## And the control: one layer
#
# One layer has nobody whose work its heads could read. Trained alike, it fails.


# %%
@torch.no_grad()
def repeat_loss(subject) -> float:
    known = recipe.task.in_repeat(held_out.tokens)[:, :-1]
    return float(subject(held_out.tokens, return_type="loss", loss_per_token=True)[known].mean())


single = one.model()
print(f"loss in the repeat: two layers {repeat_loss(model):.3f}, one layer {repeat_loss(single):.3f}")

# %% [markdown]
# ## Figures
#
# A tidy table goes in, an Altair chart comes out, its control beside it.

# %%
composition_map(composition).save(folder / "composition.html")
head_figure(scores, "previous_token").save(folder / "previous_token.html")
component_bars(table).save(folder / "logit.html")
patching_map(heads, along="head").save(folder / "heads.html")
print(f"figures are in {folder}")
