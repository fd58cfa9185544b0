"""`feature_faithfulness`: how much of a behaviour the first n nodes of a feature circuit keep, all others ablated.

Marks et al. 2024, arXiv 2403.19647, section 3.3; held against random latents, and against neurons.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.checked_input import whole_number
from models.step_hooks import HookFunction
from workbench.circuits.feature_nodes import Dictionary, FeatureNodes, Nodes
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.metrics import Metric
from workbench.interventions.pairs import Given
from workbench.interventions.passes import Hooks, measure_jobs
from workbench.interventions.positions import Place, Positions
from workbench.interventions.replacing import replacing
from workbench.interventions.stand_ins import Ablation

TOP, RANDOM_NODES = "largest effects", "random nodes"
COLUMNS = (
    *("nodes", "errors", "ablation", "variant", "seed", "value", "low", "high", "whole", "nothing"),
    *("share", "share_low", "share_high", "sequences"),
)


def feature_faithfulness(
    model: Any,
    clean: Given,
    corrupt: Given | None,
    metric: Metric,
    dictionaries: Mapping[str, Dictionary],
    nodes: pd.DataFrame,
    sizes: Sequence[int],
    *,
    keep_errors: bool = False,
    ablation: Ablation = "zero",
    at: Positions | None = None,
    bos: bool = False,
    n_controls: int = 3,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Keep the n nodes with the largest effects, ablate all others at the same positions, and run the subject.

    Nodes that are kept have what the subject gives them in this very run, in which earlier ones are ablated.

    Args:
        model: any subject.
        clean: what it is run on.
        corrupt: where what stands in comes from, as in `feature_circuit`.
        metric: of the output, one number a sequence.
        dictionaries: by hook; with `Neurons`, and their table, the same curve for neurons.
        nodes: what `feature_circuit` gave, not by position.
        sizes: how many nodes are kept, of all hooks together.
        keep_errors: keep every hook's error whatever its effect, and count latents alone.
        ablation: what stands in for a node.
        at: positions at which nodes are ablated, as in `edit_at`; all real ones where None.
        bos: whether BOS may be among them.
        n_controls: for each size, draws of as many nodes among those of the table that have an effect.
        batch_size: runs of a sequence a pass.
        seed: of the first draw, and of the intervals.

    Returns:
        A line for each size (`nodes`) and variant (`largest effects`, `random nodes`): the metric's mean `value`, that
        of the `whole` subject and with `nothing` kept (errors too, where they are ablated), and the `share` of the way
        between, with intervals (95%, over documents).

    Raises:
        ValueError: ablating everything does not change the metric, sizes are negative or none, or as `feature_circuit`.
    """
    whole_number(n_controls, "n_controls")
    if not sizes:
        raise ValueError("no sizes were given: say how many nodes are to be kept.")
    ranked = nodes[nodes["seed"].isna() & ~(keep_errors & (nodes["kind"] == "error"))]
    if ranked.empty or ranked["position"].notna().any():
        raise ValueError("nodes must be feature_circuit's table, not by position, with at least one node.")
    settings: dict[str, Any] = {"ablation": ablation, "at": at, "bos": bos, "batch_size": batch_size, "seed": seed}
    runs = FeatureNodes.of(model, clean, corrupt, dictionaries, **settings)
    order = ranked["effect"].abs().sort_values(ascending=False, kind="stable").index
    ranked = ranked.loc[order].reset_index(drop=True)
    about: list[dict[str, Any]] = []
    kept = [_keeping(runs, ranked, [], keep_errors)]
    for size in sizes:
        n = min(whole_number(size, "a size"), len(ranked))
        draws = {
            draw: np.random.default_rng(draw).permutation(len(ranked))[:n] for draw in range(seed, seed + n_controls)
        }
        for variant, draw, which in [(TOP, pd.NA, np.arange(n)), *((RANDOM_NODES, d, w) for d, w in draws.items())]:
            about.append({"nodes": n, "variant": variant, "seed": draw})
            kept.append(_keeping(runs, ranked, which, keep_errors))

    def hooks_of(jobs: Sequence[int], seq: Int[Tensor, " batch"]) -> Hooks:
        # The first job is the whole subject: nothing is done to its rows.
        instead = runs.stand_ins(seq)
        masks = {name: torch.stack([kept[job - 1][name] for job in jobs]) for name in runs.where}
        whole = torch.tensor([job == 0 for job in jobs])
        return [(name, _ablating(runs, name, masks[name], whole, instead[name], seq)) for name in runs.where]

    values = measure_jobs(model, runs.data, metric, len(kept) + 1, hooks_of, batch_size=batch_size).numpy()
    gap = values[0].mean() - values[1].mean()
    if not abs(gap) > 1e-6 * np.abs(values[:2]).max():
        raise ValueError(
            f"the metric is {values[0].mean():.4g} whether all nodes are ablated or none: there is nothing to keep. "
            "Choose sequences, hooks, a metric or an ablation that tells them apart."
        )
    docs = runs.data.docs.numpy()
    mean, low, high = mean_over_documents(values, docs, seed=seed)
    share, share_low, share_high = mean_over_documents((values - values[1]) / gap, docs, seed=seed)
    table = pd.DataFrame(about).assign(
        **{"errors": "kept" if keep_errors else "as nodes", "ablation": ablation},
        **{"whole": mean[0], "nothing": mean[1], "sequences": len(docs)},
        **{"value": mean[2:], "low": low[2:], "high": high[2:]},
        **{"share": share[2:], "share_low": share_low[2:], "share_high": share_high[2:]},
    )
    return table[list(COLUMNS)].astype({"seed": "Int64"})


def _keeping(
    runs: FeatureNodes, ranked: pd.DataFrame, which: Sequence[int] | Int[np.ndarray, " n"], keep_errors: bool
) -> dict[str, Bool[Tensor, " _"]]:
    """Of each hook the nodes that are kept, the error last."""
    masks = {name: torch.zeros(len(d.W_dec) + 1, dtype=torch.bool) for name, d in runs.dictionaries.items()}
    for hook, unit in ranked.iloc[which][["hook", "unit"]].itertuples(index=False):
        masks[hook][-1 if pd.isna(unit) else int(unit)] = True
    for mask in masks.values():
        mask[-1] |= keep_errors
    return masks


def _ablating(
    runs: FeatureNodes,
    name: str,
    kept: Bool[Tensor, "job node"],
    whole: Bool[Tensor, " job"],
    instead: Nodes,
    seq: Int[Tensor, " batch"],
) -> HookFunction:
    """A hook for a batch of these sequences under each job: nodes that are not kept have what stands in for them."""
    where = runs.where[name][seq].repeat(len(kept), 1) & ~whole.repeat_interleave(len(seq))[:, None]
    dictionary = runs.dictionaries[name]

    def replace(rows: Tensor, place: Place) -> Tensor:
        latents = dictionary.encode(rows)
        error = rows - dictionary.decode(latents)
        job, number = place.seq // len(seq), place.seq % len(seq)
        given = [_at(part, number, place.pos).to(rows) for part in instead]
        keep = kept.to(rows.device)[job]
        latents = torch.where(keep[:, :-1], latents, given[0])
        return dictionary.decode(latents) + torch.where(keep[:, -1:], error, given[1])

    return replacing(where, replace)


def _at(part: Tensor, number: Int[Tensor, " n"], pos: Int[Tensor, " n"]) -> Tensor:
    """Rows of [batch or 1, pos or 1, …]."""
    return part[number if len(part) > 1 else number * 0, pos if part.shape[1] > 1 else pos * 0]
