"""`every_subset`: a search that leaves nothing out, for as many edges as that can be done with."""

from typing import Any, Literal

import pandas as pd
import torch

from workbench.circuits.distance import Behaviour, distances
from workbench.circuits.edge_ablation import EdgeAblation
from workbench.circuits.graph import Edges, Graph
from workbench.interventions.hook_parts import named
from workbench.interventions.pairs import Given
from workbench.interventions.stand_ins import Ablation

MOST_EDGES = 14
COLUMNS = ("edges", "size", "rest", "ablation", "distance")


def every_subset(
    model: Any,
    clean: Given,
    corrupt: Given | None,
    among: Edges,
    metric: Behaviour = "KL",
    *,
    rest: Literal["kept", "cut"] = "kept",
    ablation: Ablation = "resample",
    bos: bool = False,
    batch_size: int = 256,
    seed: int = 0,
) -> pd.DataFrame:
    """How far the model is from the whole one with each of the 2ⁿ subsets of n edges.

    Args:
        model: a decoder-only transformer.
        clean: what it is run on.
        corrupt: where what stands in comes from, as in `EdgeAblation.of`; None for zero ablation.
        among: the edges of which every subset is kept once, the others of them cut: as `Edge`, as pairs of the tables'
            names, or a table's lines.
        metric: `KL`, or a metric of the output.
        rest: whether all further edges are kept or cut.
        ablation: what stands in for what a cut edge carried.
        bos: whether edges are cut at BOS too.
        batch_size: runs of a sequence a pass.
        seed: of which other sequence stands in for each, under `resample` where `corrupt` is None.

    Returns:
        A line for each subset, the smallest first: `edges` (those kept, as `SENDER → RECEIVER`), `size`, `rest`,
        `ablation`, `distance` (the mean over sequences).

    Raises:
        ValueError: there are too many edges, none, or one that there is not; or as `EdgeAblation.of`.
    """
    graph = Graph.of(model)
    chosen = graph.named_edges(among, "among")
    if len(chosen) > MOST_EDGES:
        raise ValueError(f"{len(chosen)} edges have 2^{len(chosen)} subsets: give 1 to {MOST_EDGES}.")
    if rest not in ("kept", "cut"):
        raise ValueError(f"rest is {rest!r}: further edges are 'kept' or 'cut'.")
    taken: dict[str, Any] = {"ablation": ablation, "bos": bos, "batch_size": min(batch_size, 64), "seed": seed}
    cuts = EdgeAblation.of(model, clean, corrupt, **taken)
    numbers = [graph.number[edge] for edge in chosen]
    subset = torch.arange(2 ** len(chosen))[:, None] >> torch.arange(len(chosen)) & 1 == 1
    cut = torch.full((len(subset), len(graph.edges)), rest == "cut")
    cut[:, numbers] = ~subset
    found = distances(cuts, metric, batch_size=batch_size)(cut).mean(1)
    names = [f"{named(edge.sender)} → {named(edge.receiver)}" for edge in chosen]
    table = pd.DataFrame(
        {
            "edges": [[name for name, kept in zip(names, row, strict=True) if kept] for row in subset.tolist()],
            "size": subset.sum(1).tolist(),
            "rest": rest,
            "ablation": ablation,
            "distance": found.tolist(),
        }
    )
    return table.sort_values("size", kind="stable", ignore_index=True)[list(COLUMNS)]


def smallest(subsets: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Those of `every_subset`'s lines that are nearer than `tolerance` with the fewest edges."""
    near = subsets[subsets["distance"] < tolerance]
    return near[near["size"] == near["size"].min()]
