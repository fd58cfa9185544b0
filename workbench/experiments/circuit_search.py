"""Which edges a behaviour goes through: all of them scored or tried, those that are kept, and how faithful they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from models.checked_input import whole_number
from models.compiled import Edge
from models.progress import progress
from workbench.circuits import Graph, acdc, edge_attribution, faithfulness
from workbench.experiments.circuit_results import KEPT, strongest
from workbench.experiments.prompts import Prompts
from workbench.interventions.path_patching import path_patching
from workbench.interventions.stand_ins import Ablation, refuse_unknown

SEARCHES = ATTRIBUTION, ACDC = "attribution", "acdc"
# Of attribution: edges that are kept unless a number or a threshold is given, and places its slope is taken at.
N_EDGES, N_STEPS = 20, 5
# Of acdc: its threshold, as a share of the gap between clean and corrupt prompts.
SHARE = 0.01
# The circuits whose faithfulness is held beside that of the kept edges, by how many edges they have of theirs.
SIZES = (0.25, 0.5, 1, 2)
SETS = 4  # sets of cut edges that go side by side through a pass with a batch of prompts
_COLUMNS = ("sender", "receiver", "ablation", "steps", "threshold", "variant", "seed", "score", "low", "high", "kept")


@dataclass(frozen=True)
class CircuitSettings:
    """How a circuit is searched for.

    Attributes:
        search: `attribution` scores all edges and keeps the strongest; `acdc` cuts one after the other.
        ablation: what stands in for what is cut, and for latents: of `resample` what the corrupt prompt of the pair
            has, of the means the corrupt prompts'.
        steps: places that slopes are taken at.
        threshold: the least score that is kept, in the metric's unit; None for the strongest `n_edges`, or of `acdc`
            for a hundredth of the gap between clean and corrupt prompts.
        n_edges: how many edges attribution keeps.
        n_paths: how many of them are patched one by one.
        n_controls: random circuits, directions and deals of scores beside each line.
        batch_size: prompts a pass.
        seed: of controls and intervals.
    """

    search: str = ATTRIBUTION
    ablation: Ablation = "resample"
    steps: int = N_STEPS
    threshold: float | None = None
    n_edges: int = N_EDGES
    n_paths: int = 8
    n_controls: int = 5
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise ValueError(f"there is no search {self.search!r}: there are {', '.join(SEARCHES)}.")
        refuse_unknown(self.ablation)
        for value, what, least in (
            (self.steps, "the number of steps", 1),
            (self.n_edges, "the number of edges", 1),
            (self.n_paths, "the number of paths", 0),
            (self.n_controls, "the number of controls", 1),
            (self.batch_size, "the number of prompts a pass", 1),
            (self.seed, "seed", 0),
        ):
            whole_number(value, what, least=least)
        if self.threshold is not None and not 0 < self.threshold < float("inf"):
            raise ValueError(f"the threshold is {self.threshold}: it must be above 0, in the metric's unit.")

    @property
    def keywords(self) -> dict[str, Any]:
        """Those that all functions take."""
        return {"n_controls": self.n_controls, "batch_size": self.batch_size, "seed": self.seed}


def search_edges(model: Any, prompts: Prompts, settings: CircuitSettings, gap: float) -> pd.DataFrame:
    """Every edge with its score, and whether it is kept.

    Args:
        model: a decoder-only transformer.
        prompts: the pairs.
        settings: how.
        gap: between the metric of clean and corrupt prompts, of which the default threshold of `acdc` is a share.

    Returns:
        A line for each edge (`sender`, `receiver`) and variant: `attribution`, or of several steps `integrated
        gradients`, and `random scores`, the same dealt out at random; or `acdc` and `random edges`, as many at random
        with the same scores. `score` is the change of the metric when the edge alone is cut; of `acdc`, which tries it
        after others fell, by how much further off the metric is (NaN of an edge cut untried).

    Raises:
        ValueError: nothing is kept, or as `edge_attribution` and `acdc` do.
    """
    pair = prompts.clean, None if settings.ablation == "zero" else prompts.corrupt
    if settings.search == ATTRIBUTION:
        how: dict[str, Any] = {"ablation": settings.ablation, "steps": settings.steps, **settings.keywords}
        found = edge_attribution(model, *pair, prompts.metric, **how)
        kept = found.groupby(["variant", "seed"], dropna=False, sort=False)["score"].transform(_kept, settings)
        found = found.assign(
            threshold=np.nan if settings.threshold is None else settings.threshold, kept=kept.astype(bool)
        )
    else:
        threshold = SHARE * abs(gap) if settings.threshold is None else settings.threshold
        how = {"ablation": settings.ablation, **settings.keywords, "batch_size": SETS * settings.batch_size}
        found = acdc(model, *pair, prompts.metric, threshold, **how)
        found = _dealt_out(found.rename(columns={"rise": "score"})).assign(steps=pd.NA, low=np.nan, high=np.nan)
    found = found[list(_COLUMNS)].astype(dict.fromkeys(("threshold", "low", "high"), float) | {"steps": "Int64"})
    own = found[found["seed"].isna()]
    if not own["kept"].any():
        least, largest = found["threshold"].iloc[0], own["score"].abs().max()
        raise ValueError(f"no edge is kept at the threshold {least:.4g}: the largest score is {largest:.4g}.")
    return found


def faithfulness_by_size(model: Any, prompts: Prompts, edges: pd.DataFrame, settings: CircuitSettings) -> pd.DataFrame:
    """`faithfulness` of the edges that are kept, and, where all have scores, of the strongest fewer and more.

    Args:
        model: the subject.
        prompts: the pairs.
        edges: what `search_edges` gave.
        settings: how.

    Returns:
        `faithfulness`: the circuit `kept`, and `strongest N`.
    """
    own = strongest(edges[edges["seed"].isna()])
    kept = own[own["kept"]]
    circuits = {KEPT: kept}
    if settings.search == ATTRIBUTION:
        scored = own[own["score"] != 0].assign(kept=True)
        sizes = sorted({min(max(1, round(len(kept) * size)), len(scored)) for size in SIZES})
        circuits |= {f"strongest {n}": scored.head(n) for n in sizes if n != len(kept)}
    corrupt = None if settings.ablation == "zero" else prompts.corrupt
    how = {"ablation": settings.ablation, **settings.keywords, "batch_size": SETS * settings.batch_size}
    return faithfulness(model, prompts.clean, corrupt, prompts.metric, circuits, **how)


def chosen_paths(model: Any, edges: pd.DataFrame, n: int) -> list[Edge]:
    """The n strongest of the kept edges between heads, MLPs and output: not those that come from an embedding."""
    kept = strongest(edges[edges["kept"] & edges["seed"].isna()])
    return [edge for edge in Graph.of(model).named_edges(kept) if edge.sender.hook.startswith("blocks.")][:n]


def patch_paths(model: Any, prompts: Prompts, paths: Sequence[Edge], settings: CircuitSettings) -> pd.DataFrame:
    """`path_patching` of edges one by one, norms recomputed, beside random directions."""
    pair = prompts.clean, prompts.corrupt, prompts.metric
    found = progress(paths, desc="paths", unit="path")
    parts = [path_patching(model, *pair, [edge.sender], [edge.receiver], **settings.keywords) for edge in found]
    return pd.concat(parts, ignore_index=True)


def _kept(scores: pd.Series, settings: CircuitSettings) -> pd.Series:
    """Which of one variant's scores are kept: nothing that has none."""
    size = scores.abs()
    if settings.threshold is not None:
        return size >= settings.threshold
    return (size.rank(method="first", ascending=False) <= settings.n_edges) & (size > 0)


def _dealt_out(found: pd.DataFrame) -> pd.DataFrame:
    """Each draw of as many random edges with the scores of those that were kept."""
    own = found["seed"].isna()
    scores = found.loc[own & found["kept"], "score"].to_numpy()
    found = found.copy()
    for draw in found.loc[~own, "seed"].unique():
        found.loc[(found["seed"] == draw) & found["kept"], "score"] = scores
    return found
