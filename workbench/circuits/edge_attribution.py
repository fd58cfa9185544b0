"""`edge_attribution`: what cutting each edge would do, all edges from a few forward and backward passes."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.evaluation import as_evaluated
from models.progress import progress
from workbench.circuits.edge_ablation import EdgeAblation, by_sender
from workbench.interventions.gradients import gradients_made, slope_by_output, slopes_by_output
from workbench.interventions.hook_parts import named
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.metrics import Metric
from workbench.interventions.pairs import Given, batch_of, run
from workbench.interventions.passes import Hooks
from workbench.interventions.stand_ins import Ablation

ATTRIBUTION, INTEGRATED, RANDOM_SCORES = "attribution", "integrated gradients", "random scores"
INPUTS = ("hook_embed", "hook_pos_embed")
COLUMNS = ("sender", "receiver", "ablation", "steps", "variant", "seed", "score", "low", "high", "sequences")


@gradients_made()
def edge_attribution(
    model: Any,
    clean: Given,
    corrupt: Given | None,
    metric: Metric,
    *,
    ablation: Ablation = "resample",
    steps: int = 1,
    bos: bool = False,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every edge of a transformer by (what stands in − what the sender writes) · ∂metric/∂(the receiver's input).

    That is the change of the metric, to first order, when the edge alone is cut. One step takes the slope where the
    subject is (edge attribution patching, Syed et al. 2023, arXiv 2310.10348): two forward passes, of clean and corrupt
    sequences, and one backward. Several take its mean along the line from the ablated embeddings to the true ones, in
    the middle of as many equal stretches (EAP-IG, Hanna et al. 2024, arXiv 2403.17806, who take their ends): a forward
    and a backward pass more each. Where attention is all or nothing its slope is zero, so that one step scores no edge
    into queries and keys.

    Args:
        model: a decoder-only transformer.
        clean: what it is run on.
        corrupt: where what stands in comes from, as in `EdgeAblation.of`; None for zero ablation.
        metric: of the output, one number a sequence.
        ablation: what stands in.
        steps: how many places the slope is taken at.
        bos: whether what is written at BOS counts too; padding never does.
        n_controls: draws of the control.
        batch_size: sequences a pass. A metric without a second parameter is given all sequences in order; where these
            are more than a batch, each step runs them once more for it.
        seed: of the first draw, of the intervals, and of which other sequence stands in for each where `corrupt` is
            None.

    Returns:
        A line for each edge (`sender`, `receiver`) and variant (`attribution`, or, of several steps, `integrated
        gradients`; `random scores`: the same scores dealt out at random): `score`, the mean over sequences, with its
        interval (95%, over documents).

    Raises:
        ValueError: as `EdgeAblation.of` does, or the metric does not give one finite number a sequence.
    """
    for name, number, least in (("steps", steps, 1), ("n_controls", n_controls, 0), ("batch_size", batch_size, 1)):
        whole_number(number, name, least=least)
    cuts = EdgeAblation.of(model, clean, corrupt, ablation=ablation, bos=bos, batch_size=batch_size, seed=seed)
    scores = edge_scores(cuts, metric, steps=steps, batch_size=batch_size)
    mean, low, high = mean_over_documents(scores.numpy(), cuts.data.docs.numpy(), seed=seed)
    ours = ATTRIBUTION if steps == 1 else INTEGRATED
    lines = [
        pd.DataFrame({"variant": ours, "seed": pd.NA, "score": mean, "low": low, "high": high}),
        *(
            pd.DataFrame({"variant": RANDOM_SCORES, "seed": draw, "score": dealt, "low": np.nan, "high": np.nan})
            for draw in range(seed, seed + n_controls)
            for dealt in (np.random.default_rng(draw).permutation(mean),)
        ),
    ]
    edges = {"sender": [named(e.sender) for e in cuts.graph.edges]}
    edges |= {"receiver": [named(e.receiver) for e in cuts.graph.edges]}
    about: dict[str, Any] = edges | {"ablation": ablation, "steps": steps, "sequences": len(cuts.data)}
    table = pd.concat([part.assign(**about) for part in lines], ignore_index=True)
    return table[list(COLUMNS)].astype({"seed": "Int64"})


@gradients_made()
def edge_scores(
    cuts: EdgeAblation, metric: Metric, *, steps: int = 1, batch_size: int = 64
) -> Float[Tensor, "edge seq"]:
    """The scores of each sequence, in double precision."""
    parts = torch.arange(len(cuts.data)).split(batch_size)
    scores = torch.zeros(len(cuts.graph.edges), len(cuts.data), dtype=torch.float64)
    shares = [1.0] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
    passes = len(parts) * (steps + (steps > 1))
    with as_evaluated(cuts.model), progress(total=passes, desc="edge attribution", unit="pass") as bar:
        slopes = [_Slopes(cuts, seq) for seq in parts]
        for part in slopes if steps > 1 else []:
            part.find_changes()
            bar.update()
        for share in shares:
            outputs = [partial(part.outputs, share) for part in slopes]
            whole = slopes_by_output(metric, cuts.data, parts, outputs)
            for part, towards in zip(slopes, whole, strict=True):
                part.add(metric, share, towards)
                bar.update()
        for part in slopes:
            scores[:, part.seq] = part.scores() / steps
    return scores


class _Slopes:
    """Of some sequences: what their senders would change by, and the slopes of the metric, summed over steps."""

    def __init__(self, cuts: EdgeAblation, seq: Int[Tensor, " batch"]) -> None:
        self.cuts, self.seq = cuts, seq
        self.batch = batch_of(cuts.data, seq)
        self.stand_ins = cuts.stand_ins(seq)
        self.changes: dict[str, Tensor] = {}
        self.slopes: dict[str, Tensor] = {}

    def outputs(self, share: float, read: dict[str, Tensor] | None = None) -> Tensor:
        """The model's, its embeddings `share` of the way from what stands in for them to what they are.

        What the receivers read goes into `read`; of the whole way, what the senders would change by is kept.
        """
        graph = self.cuts.graph

        def change(value: Tensor, hook: Any) -> Tensor:
            return self.cuts.changes(by_sender(value.detach()), self.stand_ins[str(hook.name)], self.seq)

        def interpolate(value: Tensor, hook: Any) -> Tensor:
            # A leaf, so that there are slopes whether or not the weights want any.
            moved = value.detach() + (1 - share) * change(value, hook).view_as(value)
            return moved.requires_grad_(read is not None)

        def note(value: Tensor, hook: Any) -> None:
            self.changes[str(hook.name)] = change(value, hook)

        def keep(value: Tensor, hook: Any) -> None:
            assert read is not None
            read[str(hook.name)] = value

        hooks: Hooks = []
        if read is not None:
            hooks += [(name, note) for name in graph.sending_hooks if share == 1]
            hooks += [(name, keep) for name in dict.fromkeys(node.hook for node in graph.receivers)]
        hooks += [(name, interpolate) for name in graph.sending_hooks if name in INPUTS]
        with self.cuts.model.hooks(fwd_hooks=hooks):
            return run(self.cuts.model, self.batch)

    @torch.no_grad()
    def find_changes(self) -> None:
        """A run of the sequences as they are, where no slope is taken there."""
        self.outputs(1, {})

    def add(self, metric: Metric, share: float, towards: Tensor | None) -> None:
        """Add the slopes at one place; `towards` is the metric's by the output, where that is known."""
        read: dict[str, Tensor] = {}
        output = self.outputs(share, read)
        towards = slope_by_output(metric, output, self.batch) if towards is None else towards
        for name, slope in zip(read, torch.autograd.grad(output, list(read.values()), towards), strict=True):
            self.slopes[name] = self.slopes.get(name, torch.zeros_like(slope)) + slope

    def scores(self) -> Float[Tensor, "edge batch"]:
        """Of every edge, what its sender would change by times the slopes at its receiver."""
        found = torch.zeros(len(self.cuts.graph.edges), len(self.seq), dtype=torch.float64)
        for sender, receiver, numbers in self.cuts.graph.blocks:
            change, slope = self.changes[sender].double(), by_sender(self.slopes[receiver]).double()
            found[numbers] = einsum(change, slope, "b pos s d, b pos r d -> r s b").cpu()
        return found
