"""`acdc`: the edges that a behaviour cannot do without, searched from the output backwards.

Conmy et al. 2023, "Towards automated circuit discovery for mechanistic interpretability", arXiv 2304.14997.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from models.checked_input import whole_number
from models.progress import progress
from workbench.circuits.distance import Behaviour, Distances, distances
from workbench.circuits.edge_ablation import EdgeAblation
from workbench.circuits.graph import Graph
from workbench.interventions.hook_parts import named
from workbench.interventions.pairs import Given
from workbench.interventions.stand_ins import Ablation

ACDC, RANDOM_EDGES = "acdc", "random edges"
COLUMNS = ("sender", "receiver", "ablation", "threshold", "variant", "seed", "order", "rise", "kept", "sequences")


@dataclass(frozen=True)
class Search:
    """What one search found.

    Attributes:
        order: the numbers of the edges that were tried, as they were.
        rise: of each edge of the graph, by how much the distance rose when it was cut; NaN of one never tried.
        kept: the edges that were not cut.
        runs: how many sets of cut edges were run.
    """

    order: list[int]
    rise: list[float]
    kept: Bool[Tensor, " edge"]
    runs: int


def acdc(
    model: Any,
    clean: Given,
    corrupt: Given | None,
    metric: Behaviour = "KL",
    threshold: float | Sequence[float] = 0.01,
    *,
    ablation: Ablation = "resample",
    bos: bool = False,
    n_controls: int = 1,
    batch_size: int = 256,
    seed: int = 0,
) -> pd.DataFrame:
    """Cut every edge that the behaviour can do without, one after the other.

    From the output backwards, each receiver's edges are tried from the last sender to the first: an edge is cut for
    good if the distance from the whole model rises by less than the threshold. An edge into what nobody listens to any
    more is cut untried. Edges are tried several at once, each on the guess that those before it fall; what follows the
    first that does not is tried anew, so that the result is that of trying them one by one, up to rounding.

    Args:
        model: a decoder-only transformer.
        clean: what it is run on.
        corrupt: where what stands in comes from, as in `EdgeAblation.of`; None for zero ablation.
        metric: `KL`, of the output from the whole model's; or a metric, whose distance is the mean over sequences of
            how much it is another.
        threshold: τ, in the metric's unit (KL: nats); several are a sweep, a search each.
        ablation: what stands in for what a cut edge carried.
        bos: whether edges are cut at BOS too; at padding they never are.
        n_controls: for each threshold, draws of as many edges at random.
        batch_size: runs of a sequence a pass, whichever set of cut edges they belong to.
        seed: of the first draw, and of which other sequence stands in for each where `corrupt` is None.

    Returns:
        A line for each threshold, edge (`sender`, `receiver`) and variant (`acdc`, `random edges`): `order`, the how
        manieth it was tried, and `rise`, of the distance when it was cut (NA and NaN of the control, and of an edge
        that was cut untried), and `kept`.

    Raises:
        ValueError: a threshold is not positive; or as `EdgeAblation.of` does, or the metric.
    """
    for name, number, least in (("n_controls", n_controls, 0), ("batch_size", batch_size, 1)):
        whole_number(number, name, least=least)
    thresholds = [float(tau) for tau in np.atleast_1d(np.asarray(threshold, float))]
    if not thresholds or not all(0 < tau < np.inf for tau in thresholds):
        raise ValueError(f"threshold is {threshold}: it must be above 0, one number or several.")
    cuts = EdgeAblation.of(model, clean, corrupt, ablation=ablation, bos=bos, batch_size=batch_size, seed=seed)
    distance = distances(cuts, metric, batch_size=batch_size)
    at_once = max(1, batch_size // len(cuts.data))
    parts = []
    for tau in progress(thresholds, desc="acdc", unit="search", shown=len(thresholds) > 1):
        found = search(cuts.graph, distance, tau, at_once=at_once)
        about = {"ablation": ablation, "threshold": tau, "sequences": len(cuts.data)}
        parts += [part.assign(**about) for part in _lines(cuts.graph, found, n_controls, seed)]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)].astype({"seed": "Int64", "order": "Int64"})


def search(graph: Graph, distance: Distances, threshold: float, *, at_once: int = 1) -> Search:
    """One search, `at_once` edges tried in a pass."""
    cut = torch.zeros(len(graph.edges), dtype=torch.bool)
    rise = [float("nan")] * len(cut)
    now = float(distance(cut[None]).mean())
    runs = 1
    order: list[int] = []
    with progress(total=len(cut), desc="acdc", unit="edge") as bar:
        for receiver in reversed(graph.receivers):
            left = graph.before(receiver)[::-1]
            heard = graph.after(receiver)
            if heard and cut[heard].all():
                cut[left] = True
                bar.update(len(left))
                continue
            order += left
            while left:
                # Each on the guess that those before it fall.
                tried = torch.stack(list(_one_more_each(cut, left[:at_once])))
                found = distance(tried).mean(1).tolist()
                runs += len(tried)
                for edge, then in zip(left[:at_once], found, strict=True):
                    left = left[1:]
                    bar.update()
                    rise[edge] = then - now
                    if rise[edge] >= threshold:
                        break
                    cut[edge], now = True, then
    return Search(order, rise, ~cut, runs)


def falls_at(table: pd.DataFrame) -> pd.DataFrame:
    """What a sweep says of each edge: the largest threshold at which it was kept, 0 where it always fell.

    Searches are not nested: an edge that falls at one threshold may be kept at a larger one, when others are gone.

    Args:
        table: what `acdc` gave for several thresholds.

    Returns:
        A line for each edge and variant: `sender, receiver, ablation, variant, seed, score`.
    """
    keys = ["sender", "receiver", "ablation", "variant", "seed"]
    scored = table.assign(score=table["threshold"].where(table["kept"], 0.0))
    return scored.groupby(keys, sort=False, dropna=False, as_index=False)["score"].max()


def _one_more_each(cut: Bool[Tensor, " edge"], edges: list[int]) -> Iterator[Bool[Tensor, " edge"]]:
    for i in range(1, len(edges) + 1):
        more = cut.clone()
        more[edges[:i]] = True
        yield more


def _lines(graph: Graph, found: Search, n_controls: int, seed: int) -> list[pd.DataFrame]:
    edges = {"sender": [named(e.sender) for e in graph.edges], "receiver": [named(e.receiver) for e in graph.edges]}
    turn = pd.Series(np.arange(len(found.order)), index=found.order, dtype="Int64").reindex(range(len(graph.edges)))
    kept = found.kept.numpy()
    ours = pd.DataFrame(edges | {"variant": ACDC, "seed": pd.NA, "order": turn, "rise": found.rise, "kept": kept})
    unasked = {"variant": RANDOM_EDGES, "order": pd.NA, "rise": np.nan}
    drawn = [
        pd.DataFrame(edges | unasked | {"seed": draw, "kept": np.random.default_rng(draw).permutation(kept)})
        for draw in range(seed, seed + n_controls)
    ]
    return [ours, *drawn]
