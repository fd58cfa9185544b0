"""`feature_circuit`: which latents of which dictionaries a behaviour goes through, and how much goes past all of them.

Marks et al. 2024, "Sparse feature circuits", arXiv 2403.19647.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.evaluation import as_evaluated
from models.progress import as_one, progress
from workbench.circuits.feature_nodes import Dictionary, FeatureNodes, Nodes
from workbench.interventions.gradients import Leaves, gradients_made, slope_by_output, slopes_by_output
from workbench.interventions.hook_parts import checked_parts, layer_of
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.metrics import Metric, takes_batch
from workbench.interventions.pairs import Given, batch_of, run
from workbench.interventions.passes import Hooks
from workbench.interventions.positions import Positions
from workbench.interventions.replacing import replacing
from workbench.interventions.stand_ins import Ablation

ATTRIBUTION, INTEGRATED, RANDOM = "attribution", "integrated gradients", "random direction"
LATENT, ERROR = "latent", "error"
_NODES = "nodes"  # what the progress bar says
COLUMNS = (
    *("hook", "layer", "position", "unit", "kind", "ablation", "steps", "variant", "seed"),
    *("effect", "low", "high", "sequences"),
)
# Of each hook: what a node is estimated to do, by variant, position (or one for all), node and sequence.
Effects = dict[str, Float[Tensor, "variant _ node seq"]]
Held = tuple[str, Float[Tensor, "_ _ d"]]  # a hook, and what it holds instead: [batch, pos, d]


@gradients_made()
def feature_circuit(
    model: Any,
    clean: Given,
    corrupt: Given | None,
    metric: Metric,
    dictionaries: Mapping[str, Dictionary],
    *,
    ablation: Ablation = "zero",
    steps: int = 1,
    by: Collection[str] = (),
    at: Positions | None = None,
    bos: bool = False,
    n_controls: int = 1,
    batch_size: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """What ablating each latent, and each error, would do to a metric: (what stands in − what is there) · slope.

    A hook's value is `decode(latents) + error`, which changes nothing; its slope along a latent is that along the
    latent's decoder row. One step takes the slope where the subject is, at all hooks at once, in one forward and
    backward pass. Several take its mean along the line from all of the hook's nodes ablated to none, in the middle of
    as many equal stretches: a pass a hook and step.

    Args:
        model: any subject.
        clean: what it is run on.
        corrupt: where what stands in comes from: for `resample` each sequence's own counterpart, for the means any
            sequences. Where None, from the clean ones; `zero` needs none.
        metric: of the output, one number a sequence.
        dictionaries: by hook; `Neurons` for its coordinates as they are, to be held beside an SAE.
        ablation: what stands in for a node.
        steps: how many places the slope is taken at.
        by: `("position",)` for a line at each position; else a node's effects are summed over positions.
        at: positions to look at, as in `edit_at`; all real ones where None.
        bos: whether BOS may be among them.
        n_controls: draws of the control: the same nodes, written along random directions as long.
        batch_size: sequences a pass. All latents of their positions are held at once. A metric without a second
            parameter is given all sequences in order; where these are more than a batch, each step runs them once more.
        seed: of the first draw, and of the intervals.

    Returns:
        A line for each node whose effect is not zero everywhere and, where positions are summed over, each hook's
        error, in each variant (`attribution` or `integrated gradients`; `random direction`): `unit` is the latent, NA
        for the error. `effect` is the mean over sequences, with its interval (95%, over documents). Hooks in the
        model's order, the largest effects first.

    Raises:
        ValueError: a hook is unknown, a dictionary does not fit, the ablation has nothing to take from, or the metric
            does not give one finite number a sequence.
    """
    for name, number, least in (("steps", steps, 1), ("n_controls", n_controls, 0), ("batch_size", batch_size, 1)):
        whole_number(number, name, least=least)
    by_position = bool(checked_parts(by, ["position"]))
    settings: dict[str, Any] = {"ablation": ablation, "at": at, "bos": bos, "batch_size": batch_size, "seed": seed}
    nodes = FeatureNodes.of(model, clean, corrupt, dictionaries, **settings)
    seeds = range(seed, seed + n_controls)
    effects = node_effects(nodes, metric, steps=steps, by_position=by_position, seeds=seeds, batch_size=batch_size)
    variants = [(ATTRIBUTION if steps == 1 else INTEGRATED, pd.NA), *((RANDOM, draw) for draw in seeds)]
    docs = nodes.data.docs.numpy()
    parts = []
    for hook, found in effects.items():
        lines = _lines(found.numpy(), docs, seed, by_position)
        for line, (variant, draw) in zip(lines, variants, strict=True):
            parts.append(line.assign(hook=hook, layer=layer_of(hook), variant=variant, seed=draw))
    table = pd.concat(parts, ignore_index=True).assign(ablation=ablation, steps=steps, sequences=len(docs))
    return table[list(COLUMNS)].astype(dict.fromkeys(("layer", "position", "unit", "seed"), "Int64"))


def node_effects(
    nodes: FeatureNodes, metric: Metric, *, steps: int, by_position: bool, seeds: range, batch_size: int
) -> Effects:
    """What `feature_circuit` puts into a table: what ablating each node would do to each sequence's metric.

    Args:
        nodes: the subject, its sequences and dictionaries.
        metric: of the output, one number a sequence.
        steps: how many places the slope is taken at.
        by_position: whether positions are told apart, or summed over.
        seeds: of the controls, which come after the nodes' own directions along the axis `variant`.
        batch_size: sequences a pass.

    Returns:
        By hook `[variant, pos or 1, node, seq]`, in double precision on the CPU; the last node is the hook's error.

    Raises:
        ValueError: the metric does not give one finite number a sequence, or has no slope.
    """
    parts = torch.arange(len(nodes.data)).split(batch_size)
    groups = [[part] for part in parts] if takes_batch(metric) else [list(parts)]
    found: dict[str, list[Tensor]] = {name: [] for name in nodes.dictionaries}
    directions = {name: _directions(d.W_dec, seeds) for name, d in nodes.dictionaries.items()}
    walks = len(groups) * len(nodes.where) * steps
    with as_evaluated(nodes.model), as_one(desc=_NODES, total=walks, unit="step"):
        for group in groups:
            for seq, slopes in zip(group, _mean_slopes(nodes, metric, group, steps), strict=True):
                there, instead = nodes.there(seq), nodes.stand_ins(seq)
                for name, slope in slopes.items():
                    at = nodes.where[name][seq].to(slope.device)[..., None]
                    pairs = zip(there[name], instead[name], strict=True)
                    change = Nodes(*(torch.where(at, b - a, 0) for a, b in pairs))
                    effect = torch.stack([_effect(change, slope, *along) for along in directions[name]])
                    effect = effect if by_position else effect.sum(2, keepdim=True)
                    found[name].append(effect.detach().double().cpu().permute(0, 2, 3, 1))
    return {name: torch.cat(effects, -1) for name, effects in found.items()}


def slopes_there(
    nodes: FeatureNodes,
    metric: Metric,
    seq: Int[Tensor, " batch"],
    towards: Float[Tensor, "batch pos d_out"] | None = None,
    at: Held | None = None,
) -> dict[str, Float[Tensor, "batch pos d"]]:
    """The metric's slopes at every hook, or, where it holds other rows, at that hook.

    Args:
        nodes: the subject, its sequences and dictionaries.
        metric: of the output, one number a sequence.
        seq: the sequences of this pass.
        towards: the metric's slope by the output, where it was taken of more sequences than these.
        at: a hook and the rows `[batch, pos, d]` that it holds where nodes are looked at.

    Raises:
        ValueError: `towards` is not given, and the metric does not give one finite number a sequence or has no slope.
    """
    leaves, batch = Leaves(), batch_of(nodes.data, seq)
    names = list(nodes.where) if at is None else [at[0]]
    hooks = [*_holding(nodes, seq, at), *((name, leaves.hook) for name in names)]
    with gradients_made(), nodes.model.hooks(fwd_hooks=hooks):
        output = run(nodes.model, batch)
        towards = slope_by_output(metric, output, batch) if towards is None else towards
        return {name: slope.flatten(2) for name, slope in leaves.slopes(output, towards, names).items()}


def _mean_slopes(
    nodes: FeatureNodes, metric: Metric, parts: Sequence[Int[Tensor, " _"]], steps: int
) -> list[dict[str, Float[Tensor, "batch pos d"]]]:
    """Of each part the slopes where the subject is, or their means on the way to it, hook by hook."""
    if steps == 1:
        return _slopes_of_parts(nodes, metric, parts, [None] * len(parts))
    ends = [_ends(nodes, seq) for seq in parts]
    found: list[dict[str, Tensor]] = [{} for _ in parts]
    for name in nodes.where:
        for step in progress(range(steps), desc=_NODES, unit="step"):
            share = (step + 0.5) / steps
            ways = [(name, start + share * (end - start)) for start, end in (of_part[name] for of_part in ends)]
            for sums, slopes in zip(found, _slopes_of_parts(nodes, metric, parts, ways), strict=True):
                sums[name] = sums.get(name, 0) + slopes[name] / steps
    return found


def _slopes_of_parts(
    nodes: FeatureNodes, metric: Metric, parts: Sequence[Int[Tensor, " _"]], ways: Sequence[Held | None]
) -> list[dict[str, Tensor]]:
    outputs = [partial(_output, nodes, seq, way) for seq, way in zip(parts, ways, strict=True)]
    whole = slopes_by_output(metric, nodes.data, parts, outputs)
    return [slopes_there(nodes, metric, *of_part) for of_part in zip(parts, whole, ways, strict=True)]


def _output(nodes: FeatureNodes, seq: Int[Tensor, " batch"], at: Held | None) -> Float[Tensor, "batch pos d_out"]:
    with nodes.model.hooks(fwd_hooks=_holding(nodes, seq, at)):
        return run(nodes.model, batch_of(nodes.data, seq))


def _holding(nodes: FeatureNodes, seq: Int[Tensor, " batch"], at: Held | None) -> Hooks:
    if at is None:
        return []
    name, rows = at
    return [(name, replacing(nodes.where[name][seq], lambda _, place: rows[place.seq, place.pos]))]


@torch.no_grad()
def _ends(nodes: FeatureNodes, seq: Int[Tensor, " batch"]) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each hook the rows with all of its nodes ablated, and with none."""
    there, instead = nodes.there(seq), nodes.stand_ins(seq)
    return {name: (instead[name].row(d), there[name].row(d)) for name, d in nodes.dictionaries.items()}


def _effect(
    change: Nodes, slope: Float[Tensor, "batch pos d"], along: Float[Tensor, "n d"], beside: Tensor | None
) -> Float[Tensor, "batch pos node"]:
    """Of latents written along some directions; of the error where it stands, or as long beside it."""
    error = change.error if beside is None else change.error.norm(dim=-1, keepdim=True) * beside
    latents = change.latents * (slope @ along.T)
    return torch.cat([latents, (error * slope).sum(-1, keepdim=True).expand(*latents.shape[:2], 1)], -1)


def _directions(W_dec: Float[Tensor, "n d"], seeds: range) -> list[tuple[Tensor, Tensor | None]]:
    """The latents' own directions; and, of each draw, others of the same lengths, with one for the error."""
    found: list[tuple[Tensor, Tensor | None]] = [(W_dec.detach(), None)]
    for seed in seeds:
        drawn = torch.randn(len(W_dec) + 1, W_dec.shape[1], generator=torch.Generator().manual_seed(seed)).to(W_dec)
        drawn = drawn / drawn.norm(dim=1, keepdim=True)
        found.append((drawn[:-1] * W_dec.detach().norm(dim=1, keepdim=True), drawn[-1]))
    return found


def _lines(
    effects: Float[np.ndarray, "variant pos node seq"], docs: Int[np.ndarray, " seq"], seed: int, by_position: bool
) -> list[pd.DataFrame]:
    """A table for each variant, of the same nodes in the same order."""
    n_nodes = effects.shape[2]
    shown = (effects[0] != 0).any(-1)
    shown[:, -1] |= not by_position
    position, unit = shown.nonzero()
    order = np.argsort(-np.abs(effects[0, position, unit].mean(-1)), kind="stable")
    position, unit = position[order], unit[order]
    is_error = unit == n_nodes - 1
    about = {
        "position": pd.array(position if by_position else [pd.NA] * len(unit), dtype="Int64"),
        "unit": pd.array(unit, dtype="Int64"),
        "kind": np.where(is_error, ERROR, LATENT),
    }
    about["unit"][is_error] = pd.NA
    tables = []
    for variant in effects:
        mean, low, high = mean_over_documents(variant[position, unit], docs, seed=seed)
        tables.append(pd.DataFrame(about | {"effect": mean, "low": low, "high": high}))
    return tables
