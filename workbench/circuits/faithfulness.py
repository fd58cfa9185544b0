"""How much of a behaviour a circuit keeps, and how much is left without it.

Wang et al. 2022, arXiv 2211.00593 (faithfulness, completeness); as shares, Marks et al. 2024, arXiv 2403.19647.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from models.checked_input import whole_number
from workbench.circuits.edge_ablation import EdgeAblation
from workbench.circuits.graph import Edges, Graph
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.metrics import Metric
from workbench.interventions.pairs import Given
from workbench.interventions.stand_ins import Ablation

CIRCUIT, RANDOM_CIRCUIT = "circuit", "random circuit"
KEPT, CUT = "its edges alone", "all but its edges"
COLUMNS = (
    *("circuit", "edges", "ablation", "variant", "seed", "left", "value", "low", "high", "whole", "nothing"),
    *("share", "share_low", "share_high", "sequences"),
)


def faithfulness(
    model: Any,
    clean: Given,
    corrupt: Given | None,
    metric: Metric,
    circuits: Mapping[str, Edges],
    *,
    ablation: Ablation = "resample",
    bos: bool = False,
    n_controls: int = 10,
    batch_size: int = 256,
    seed: int = 0,
) -> pd.DataFrame:
    """Run a transformer with a circuit's edges alone, and with all others.

    Args:
        model: a decoder-only transformer.
        clean: what it is run on.
        corrupt: where what stands in comes from, as in `EdgeAblation.of`; None for zero ablation.
        metric: of the output, one number a sequence.
        circuits: the edges of each, by name: as `Edge`, as pairs of the tables' names, or a table's lines, such as
            those that `acdc` kept.
        ablation: what stands in for what a cut edge carried.
        bos: whether edges are cut at BOS too; at padding they never are.
        n_controls: for each circuit, draws of as many edges at random.
        batch_size: runs of a sequence a pass.
        seed: of the first draw, of the intervals, and of which other sequence stands in for each where `corrupt` is
            None.

    Returns:
        For each circuit and variant of it (`circuit`, `random circuit`) two lines, by what is `left`: `its edges
        alone`, whose `share` is its faithfulness, and `all but its edges`, whose share is small where nothing else does
        the same work (completeness). `value` is the metric's mean, `whole` that of the whole model, `nothing` that
        with every edge cut; `share` is where `value` stands between `nothing` (0) and `whole` (1). Intervals are 95%,
        over documents.

    Raises:
        ValueError: a circuit has no edges or one that there is not, cutting every edge does not change the metric, or
            as `EdgeAblation.of`.
    """
    whole_number(n_controls, "n_controls")
    if not isinstance(circuits, Mapping) or not circuits:
        raise ValueError('circuits are given by name, at least one: such as {"found": edges}.')
    graph = Graph.of(model)
    masks = {name: graph.mask(edges, f"circuit {name!r}") for name, edges in circuits.items()}
    taken: dict[str, Any] = {"ablation": ablation, "bos": bos, "batch_size": min(batch_size, 64), "seed": seed}
    cuts = EdgeAblation.of(model, clean, corrupt, **taken)
    n = len(graph.edges)
    about: list[dict[str, Any]] = []
    cut: list[Bool[Tensor, " edge"]] = [torch.zeros(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)]
    for name, ours in masks.items():
        kinds: list[tuple[str, Any, Tensor]] = [(CIRCUIT, pd.NA, ours)]
        for draw in range(seed, seed + n_controls):
            kinds.append(
                (RANDOM_CIRCUIT, draw, torch.from_numpy(np.random.default_rng(draw).permutation(ours.numpy())))
            )
        for variant, draw, kept in kinds:
            for left, mask in ((KEPT, ~kept), (CUT, kept)):
                about.append(
                    {"circuit": name, "edges": int(kept.sum()), "variant": variant, "seed": draw, "left": left}
                )
                cut.append(mask)
    values = cuts.measured(metric, torch.stack(cut), batch_size=batch_size).numpy()
    gap = values[0].mean() - values[1].mean()
    if not abs(gap) > 1e-6 * np.abs(values[:2]).max():
        raise ValueError(
            f"the metric is {values[0].mean():.4g} whether all edges are cut or none: there is nothing to keep. "
            "Choose sequences, a metric or an ablation that tells them apart."
        )
    docs = cuts.data.docs.numpy()
    mean, low, high = mean_over_documents(values, docs, seed=seed)
    share, share_low, share_high = mean_over_documents((values - values[1]) / gap, docs, seed=seed)
    table = pd.DataFrame(about).assign(
        **{"ablation": ablation, "whole": mean[0], "nothing": mean[1], "sequences": len(docs)},
        **{"value": mean[2:], "low": low[2:], "high": high[2:]},
        **{"share": share[2:], "share_low": share_low[2:], "share_high": share_high[2:]},
    )
    return table[list(COLUMNS)].astype({"seed": "Int64"})
