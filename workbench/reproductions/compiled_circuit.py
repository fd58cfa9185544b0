"""A circuit that is known edge by edge: which searches find it, and how much hangs on what stands in for an edge."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.compiled import Circuit, compiled_induction
from models.evaluation import Batch
from models.transformer import Transformer
from workbench.circuits import (
    EdgeAblation,
    acdc,
    edge_attribution,
    edge_recovery,
    every_subset,
    faithfulness,
    falls_at,
    smallest,
)
from workbench.circuits.graph import Graph
from workbench.figures.edge_recovery import edge_recovery as edge_recovery_figure
from workbench.interventions.hook_parts import named
from workbench.interventions.stand_ins import ABLATIONS
from workbench.reproductions.base import Bench, Row, spread

TITLE = "A hand-compiled transformer's circuit is found by searching its edges"
PAPER = (
    "Conmy et al. 2023, arXiv 2304.14997 (ACDC); Syed et al. 2023, arXiv 2310.10348 (edge attribution); "
    "Hanna et al. 2024, arXiv 2403.17806 (with integrated gradients)"
)

D_VOCAB, N_CTX = 12, 24
N_SEQUENCES, N_EXHAUSTIVE = 32, 8
THRESHOLDS = tuple(float(tau) for tau in np.geomspace(1e-4, 10, 11))
STEPS = 30
N_CONTROLS = 20
NEAR = 1e-4  # nats: as good as the whole
METHODS = {
    "acdc": "ACDC",
    "integrated gradients": f"edge attribution, {STEPS} steps",
    "attribution": "edge attribution, 1 step",
    "cut alone": "each edge cut alone",
    "random scores": "random scores",
}


def reproduce(bench: Bench) -> list[Row]:
    """Score all edges by every method under every ablation, and hold them against the circuit."""
    recovered, needed, kept = [], [], []
    for seed in range(5 if bench.full else 1):
        for ablation in ABLATIONS:
            bench.tell(f"searching with {ablation} ablation, seed {seed}")
            subject = Searched(ablation, seed)
            about = {"ablation": ablation, "sequences_seed": seed}
            recovered.append(subject.recovery().assign(**about))
            needed.append(subject.needed().assign(**about))
            kept.append(subject.faithfulness().assign(**about))
    recovery, subsets = pd.concat(recovered, ignore_index=True), pd.concat(needed, ignore_index=True)
    shares = pd.concat(kept, ignore_index=True)
    settings: dict[str, Any] = {"d_vocab": D_VOCAB, "n_ctx": N_CTX, "thresholds": THRESHOLDS, "steps": STEPS}
    bench.table("recovery", recovery, edge_recovery_figure(summed_up(recovery)), **settings)
    bench.table("subsets", subsets, near=NEAR)
    bench.table("faithfulness", shares)
    return _rows(recovery, subsets, shares)


def sequences(n: int, seed: int) -> Int[Tensor, "n pos"]:
    """BOS, then some tokens in a random order, again and again: periods of 4 to 11."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(n):
        period = 1 + torch.randperm(D_VOCAB - 1, generator=generator)[: 4 + i % 8]
        rows.append(torch.cat([torch.zeros(1, dtype=torch.long), period.repeat(N_CTX)[: N_CTX - 1]]))
    return torch.stack(rows)


def induced(tokens: Int[Tensor, "seq pos"]) -> Int[Tensor, "seq pos"]:
    """What came after a token when it was there last; BOS where it was not."""
    answers = torch.zeros_like(tokens)
    for row, answer in zip(tokens.tolist(), answers, strict=True):
        last: dict[int, int] = {}
        for pos, token in enumerate(row):
            if token in last:
                answer[pos] = row[last[token] + 1]
            if pos:
                last[token] = pos
    return answers


class Searched:
    """The compiled transformer, some sequences and others to take from, and one ablation."""

    def __init__(self, ablation: Any, seed: int, n: int = N_SEQUENCES) -> None:
        self.ablation, self.seed = ablation, seed
        found: tuple[Transformer, Circuit] = compiled_induction(D_VOCAB, N_CTX)
        self.model, self.circuit = found
        self.clean, self.corrupt = sequences(n, 2 * seed), sequences(n, 2 * seed + 1)
        self.answers = induced(self.clean)
        self.how: dict[str, Any] = {"ablation": ablation, "bos": True}

    def logit(self, output: Float[Tensor, "batch pos d_vocab"], batch: Batch) -> Float[Tensor, " batch"]:
        """By how much the answer's logit is above the mean, over all positions."""
        answer = output.gather(-1, self.answers[batch["seq"].cpu()].to(output.device)[..., None])[..., 0]
        return (answer - output.mean(-1)).mean(1)

    def recovery(self) -> pd.DataFrame:
        """The area under the ROC curve of every method: `method`, `seed` (of the controls), `auc`."""
        given = (self.model, self.clean, self.corrupt)
        one = edge_attribution(*given, self.logit, steps=1, n_controls=0, **self.how)
        many = edge_attribution(*given, self.logit, steps=STEPS, n_controls=N_CONTROLS, **self.how)
        swept = falls_at(acdc(*given, "KL", THRESHOLDS, n_controls=0, **self.how))
        scores = pd.concat([swept, many, one, self._alone(one)], ignore_index=True)
        found = edge_recovery(scores, self.circuit)
        return found.assign(method=found["variant"].map(METHODS))[["method", "seed", "auc", "true_edges", "edges"]]

    def _alone(self, like: pd.DataFrame) -> pd.DataFrame:
        """What cutting each edge alone really does: the best that scores of single edges can be."""
        cuts = EdgeAblation.of(*(self.model, self.clean, self.corrupt), **self.how)
        cut = torch.cat([torch.zeros(1, len(like), dtype=torch.bool), torch.eye(len(like), dtype=torch.bool)])
        values = cuts.measured(self.logit, cut, batch_size=256).mean(1).numpy()
        return like.assign(variant="cut alone", score=values[1:] - values[0])

    def needed(self) -> pd.DataFrame:
        """By trying every subset of each receiver's edges: the fewest that keep the output, and whether they are ours.

        Columns: `receiver`, `edges`, `needed`, `known` (how many of the circuit's there are), `alone` (whether no other
        subset of that size does), `as_known`.
        """
        graph, lines = Graph.of(self.model), []
        given = (self.model, self.clean[:N_EXHAUSTIVE], self.corrupt[:N_EXHAUSTIVE])
        for receiver in graph.receivers:
            among = [graph.edges[i] for i in graph.before(receiver)]
            best = smallest(every_subset(*given, among, **self.how), NEAR)
            ours = {f"{named(e.sender)} → {named(e.receiver)}" for e in self.circuit.edges if e.receiver == receiver}
            line = {"receiver": named(receiver), "edges": len(among), "needed": int(best["size"].iloc[0])}
            found = {"known": len(ours), "alone": len(best) == 1, "as_known": set(best["edges"].iloc[0]) == ours}
            lines.append(line | found)
        return pd.DataFrame(lines)

    def faithfulness(self) -> pd.DataFrame:
        """How much of the answer's logit the circuit keeps, beside random circuits of its size."""
        circuits = {"known": self.circuit.edges}
        return faithfulness(
            *(self.model, self.clean, self.corrupt, self.logit, circuits), n_controls=N_CONTROLS, **self.how
        )


def summed_up(recovery: pd.DataFrame) -> pd.DataFrame:
    """The median of every method and ablation, between the lowest and the highest."""
    of = recovery.groupby(["ablation", "method"], sort=False)["auc"]
    return pd.DataFrame({"auc": of.median(), "low": of.min(), "high": of.max()}).reset_index()


def _rows(recovery: pd.DataFrame, subsets: pd.DataFrame, shares: pd.DataFrame) -> list[Row]:
    n = recovery["sequences_seed"].nunique()

    def aucs(method: str, ablation: str) -> list[float]:
        of = (recovery["method"] == METHODS[method]) & (recovery["ablation"] == ablation)
        return recovery.loc[of, "auc"].tolist()

    bars = {("acdc", "zero"): 0.99, ("integrated gradients", "zero"): 0.9}
    published = {("acdc", "zero"): "1.000 (tracr)"}
    rows = []
    for ablation in ABLATIONS:
        random = float(np.mean(aucs("random scores", ablation)))
        for method in [name for name in METHODS if name != "random scores"]:
            found, bar = aucs(method, ablation), bars.get((method, ablation))
            rows.append(
                Row(
                    f"{METHODS[method]}, {ablation} ablation: AUC of the circuit's 8 of 71 edges; {n} seed(s)",
                    published.get((method, ablation), ""),
                    f"{spread(found)}; random scores {random:.3f}",
                    "" if bar is None else f"≥ {bar} in every seed",
                    None if bar is None else min(found) >= bar,
                )
            )
    return [*rows, *_subset_rows(subsets), *_share_rows(shares)]


def _subset_rows(subsets: pd.DataFrame) -> list[Row]:
    rows = []
    for ablation, lines in subsets.groupby("ablation", sort=False):
        needed = lines.groupby("sequences_seed")["needed"].sum()
        right = lines.groupby("sequences_seed").apply(lambda of: (of["as_known"] & of["alone"]).mean())
        is_zero = ablation == "zero"
        rows.append(
            Row(
                f"every subset of each receiver's edges, {ablation} ablation: edges needed; receivers as known",
                "",
                f"{spread(needed.tolist(), 0)} of 8; {spread(right.tolist())}",
                "all 18 heads' inputs and the output as known" if is_zero else "",
                bool((right == 1).all()) if is_zero else None,
            )
        )
    return rows


def _share_rows(shares: pd.DataFrame) -> list[Row]:
    rows = []
    for ablation, lines in shares.groupby("ablation", sort=False):
        of = {key: part["share"].tolist() for key, part in lines.groupby(["variant", "left"])}
        ours = [of["circuit", left] for left in ("its edges alone", "all but its edges")]
        random = [of["random circuit", left] for left in ("its edges alone", "all but its edges")]
        rows.append(
            Row(
                f"share of the answer's logit kept by the circuit alone, and without it; {ablation} ablation",
                "",
                f"{spread(ours[0])}, {spread(ours[1])}; random circuits {spread(random[0])}, {spread(random[1])}",
            )
        )
    return rows
