"""`feature_edges`: what each latent passes on to each later one, by itself and not through those in between."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.evaluation import as_evaluated
from workbench.circuits.feature_circuit import slopes_there
from workbench.circuits.feature_nodes import Dictionary, FeatureNodes, Nodes
from workbench.interventions.gradients import Leaves, gradients_made, slopes_by_output
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.metrics import Metric
from workbench.interventions.pairs import Given, batch_of, run
from workbench.interventions.positions import Positions
from workbench.interventions.stand_ins import Ablation

DIRECT, RANDOM_EDGES = "attribution", "random edges"
COLUMNS = (
    *("from_hook", "from_unit", "to_hook", "to_unit", "ablation", "variant", "seed"),
    *("effect", "low", "high", "sequences"),
)


@gradients_made()
def feature_edges(
    model: Any,
    clean: Given,
    corrupt: Given | None,
    metric: Metric,
    dictionaries: Mapping[str, Dictionary],
    nodes: pd.DataFrame,
    *,
    most: int = 32,
    ablation: Ablation = "zero",
    at: Positions | None = None,
    bos: bool = False,
    n_controls: int = 1,
    batch_size: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """What ablating one node would do to a metric by way of another alone (Marks et al. 2024, section 3.1).

    The later node counts with the metric's slope along it, and changes with the earlier one while every hook in between
    is held still; both to first order, where the subject is. With an error node at each hook nothing is lost: what a
    node passes to all nodes of the next hook of a residual stream sums up to its own effect.

    Args:
        model: any subject.
        clean: what it is run on.
        corrupt: where what stands in comes from, as in `feature_circuit`.
        metric: of the output, one number a sequence.
        dictionaries: by hook.
        nodes: what `feature_circuit` gave, not by position; edges are between the largest of its nodes.
        most: how many nodes of each hook, the error among them or not.
        ablation: what stands in for a node.
        at: positions to look at, as in `edit_at`; all real ones where None.
        bos: whether BOS may be among them.
        n_controls: draws of the control: the same effects dealt out at random among the edges of these two hooks.
        batch_size: sequences a pass; a backward pass for each later node.
        seed: of the first draw, and of the intervals.

    Returns:
        A line for each pair of nodes of different hooks and each variant (`attribution`, `random edges`): `from_unit`
        and `to_unit` are latents, NA for errors; `effect`, a sum over positions, with its interval (95%, over
        documents).

    Raises:
        ValueError: the nodes are not of these hooks or are told apart by position, or as `feature_circuit`.
    """
    for name, number, least in (("most", most, 1), ("n_controls", n_controls, 0), ("batch_size", batch_size, 1)):
        whole_number(number, name, least=least)
    settings: dict[str, Any] = {"ablation": ablation, "at": at, "bos": bos, "batch_size": batch_size, "seed": seed}
    runs = FeatureNodes.of(model, clean, corrupt, dictionaries, **settings)
    chosen = {hook: _largest(nodes, hook, runs.dictionaries[hook], most) for hook in runs.dictionaries}
    parts = torch.arange(len(runs.data)).split(batch_size)
    found: dict[tuple[str, str], list[Tensor]] = {}
    with as_evaluated(model):
        outputs = [partial(run, runs.model, batch_of(runs.data, seq)) for seq in parts]
        whole = slopes_by_output(metric, runs.data, parts, outputs)
        for seq, towards in zip(parts, whole, strict=True):
            for pair, effect in _passed_on(runs, metric, seq, towards, chosen).items():
                found.setdefault(pair, []).append(effect)
    docs = runs.data.docs.numpy()
    lines = []
    for (sender, receiver), effects in found.items():
        values = torch.cat(effects, -1).numpy()
        mean, low, high = mean_over_documents(values.reshape(-1, values.shape[-1]), docs, seed=seed)
        later, earlier = np.indices(values.shape[:2]).reshape(2, -1)
        pair = pd.DataFrame(
            {
                "from_hook": sender,
                "from_unit": _units(chosen[sender], earlier, runs.dictionaries[sender]),
                "to_hook": receiver,
                "to_unit": _units(chosen[receiver], later, runs.dictionaries[receiver]),
            }
        )
        lines.append(pair.assign(variant=DIRECT, seed=pd.NA, effect=mean, low=low, high=high))
        for draw in range(seed, seed + n_controls):
            dealt = np.random.default_rng(draw).permutation(mean)
            lines.append(pair.assign(variant=RANDOM_EDGES, seed=draw, effect=dealt, low=np.nan, high=np.nan))
    if not lines:
        raise ValueError("there are dictionaries at one hook alone: edges run from one hook to a later one.")
    table = pd.concat(lines, ignore_index=True).assign(ablation=ablation, sequences=len(docs))
    return table[list(COLUMNS)].astype(dict.fromkeys(("from_unit", "to_unit", "seed"), "Int64"))


def _passed_on(
    runs: FeatureNodes,
    metric: Metric,
    seq: Int[Tensor, " batch"],
    towards: Tensor | None,
    chosen: dict[str, list[int]],
) -> dict[tuple[str, str], Float[Tensor, "later earlier batch"]]:
    """Of every two hooks, between the chosen nodes of each."""
    slopes = slopes_there(runs, metric, seq, towards)
    there = {name: Nodes.of(runs.dictionaries[name], x) for name, x in runs.rows(seq).items()}
    instead = runs.stand_ins(seq)
    where = {name: at[seq][..., None] for name, at in runs.where.items()}
    changes = {
        name: Nodes(*(torch.where(where[name], b - a, 0) for a, b in zip(there[name], instead[name], strict=True)))
        for name in there
    }
    leaves = Leaves(stopped=True)
    found = {}
    hooks = list(runs.where)
    with gradients_made(), runs.model.hooks(fwd_hooks=[(name, leaves.hook) for name in hooks]):
        run(runs.model, batch_of(runs.data, seq))
        for i, receiver in enumerate(hooks[1:], start=1):
            dictionary, slope = runs.dictionaries[receiver], slopes[receiver]
            nodes = Nodes.of(dictionary, leaves.at(receiver, leaves.values).flatten(2))
            effects: dict[str, list[Tensor]] = {name: [] for name in hooks[:i]}
            for unit in chosen[receiver]:
                if unit == len(dictionary.W_dec):
                    weighed = (nodes.error * slope).sum(-1)
                else:
                    weighed = nodes.latents[..., unit] * (slope @ dictionary.W_dec[unit].detach())
                total = (weighed * where[receiver][..., 0]).sum()
                for name, passed in leaves.slopes(total, None, hooks[:i], keep_graph=True).items():
                    effects[name].append(
                        _by_node(changes[name], passed.flatten(2), runs.dictionaries[name], chosen[name])
                    )
            for name, rows in effects.items():
                found[name, receiver] = torch.stack(rows).detach().double().cpu()
    return found


def _by_node(
    change: Nodes, slope: Float[Tensor, "batch pos d"], dictionary: Dictionary, units: list[int]
) -> Float[Tensor, "earlier batch"]:
    """What the change of each chosen node does along a slope, summed over positions."""
    latents = (change.latents * (slope @ dictionary.W_dec.detach().T)).sum(1)
    error = (change.error * slope).sum((1, 2))
    return torch.cat([latents, error[:, None]], 1).T[units]


def _largest(nodes: pd.DataFrame, hook: str, dictionary: Dictionary, most: int) -> list[int]:
    """The numbers of a hook's nodes with the largest effects, the error's being the last."""
    ours = nodes[(nodes["hook"] == hook) & nodes["seed"].isna()]
    if ours.empty or ours["position"].notna().any():
        raise ValueError(
            f"nodes has no line of {hook} for all positions: give feature_circuit's table, not by position."
        )
    top = ours.loc[ours["effect"].abs().sort_values(ascending=False, kind="stable").index[:most], "unit"]
    return [len(dictionary.W_dec) if pd.isna(unit) else int(unit) for unit in top]


def _units(chosen: list[int], which: Int[np.ndarray, " edge"], dictionary: Dictionary) -> list[Any]:
    numbers = np.asarray(chosen)[which]
    return [pd.NA if unit == len(dictionary.W_dec) else unit for unit in numbers.tolist()]
