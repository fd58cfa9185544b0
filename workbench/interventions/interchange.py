"""Interchange interventions: what a base sequence holds in a subspace becomes what a source sequence holds there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import Batch, accepted, as_evaluated, asked_positions
from models.loss import IGNORED
from models.step_hooks import HookFunction
from workbench.interventions.controls import random_frame
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.metrics import Metric, measured, takes_batch
from workbench.interventions.pairs import Given, aligned, batch_of
from workbench.interventions.positions import Place, Positions, editable
from workbench.interventions.replacing import replacing
from workbench.interventions.subspace import Subspace
from workbench.interventions.values import values_at

Swap = Callable[[Float[Tensor, "n d"], Float[Tensor, "n d"]], Float[Tensor, "n d"]]

GIVEN, RANDOM, NOTHING, EVERYTHING = "given", "random frame", "nothing swapped", "everything swapped"
COLUMNS = ("hook", "name", "k", "variant", "seed", "value", "low", "high", "loss", "pairs")


def swapped(subspace: Subspace) -> Swap:
    """`swap(base, source)`: base rows with the coordinates of source rows, and all else of their own."""

    def swap(base: Float[Tensor, "n d"], source: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return base + (subspace.coordinates(source) - subspace.coordinates(base)) @ subspace.write.to(base)

    return swap


@dataclass(frozen=True)
class Interchange:
    """Pairs of a base and a source sequence at a hook, and what the subject should say once they are swapped there.

    Attributes:
        model: the subject.
        hook: where.
        base: the sequences that the subject is run on, with what it should say as their targets.
        where: the positions that are swapped.
        source: what stands there in the sources, heads flattened.
    """

    model: Any
    hook: str
    base: Dataset
    where: Bool[Tensor, "pair pos"]
    source: Float[Tensor, "pair pos d"]

    @classmethod
    def of(
        cls,
        model: Any,
        base: Given,
        source: Given,
        targets: Tensor,
        hook_name: str,
        at: Positions | None = None,
        *,
        batch_size: int = 64,
    ) -> "Interchange":
        """Run the subject on the sources; `at` and the errors are those of `interchange_scores`."""
        whole_number(batch_size, "batch_size", least=1)
        bases, sources = aligned(base, source)
        bases = replace(bases, targets=targets)
        (hook,) = model.match_hooks(hook_name)
        where = editable(model, bases, hook, at)
        parts = torch.arange(len(sources)).split(batch_size)
        rows = [values_at(model, batch_of(sources, seq), [hook])[hook].flatten(2).cpu() for seq in parts]
        return cls(model, hook, bases, where, torch.cat(rows))

    @property
    def d(self) -> int:
        """How wide a row is."""
        return self.source.shape[-1]

    def batch(self, pairs: Int[Tensor, " batch"]) -> Batch:
        """The bases of some pairs, with their targets and, as `seq`, their numbers."""
        return batch_of(self.base, pairs)

    def run(self, pairs: Int[Tensor, " batch"], swap: Swap, return_type: str) -> Any:
        """What the subject returns on the bases (`both`: output and mean loss) once its rows are swapped."""
        batch = self.batch(pairs)
        given = accepted(self.model, batch) | {"targets": batch["targets"]}
        with self.model.hooks(fwd_hooks=[(self.hook, self.swapping(pairs, swap))]):
            return self.model(**given, return_type=return_type)

    def swapping(self, pairs: Int[Tensor, " batch"], swap: Swap) -> HookFunction:
        """The hook that swaps, for a run on the bases of these pairs."""

        def exchange(rows: Float[Tensor, "n d"], place: Place) -> Float[Tensor, "n d"]:
            x = rows.to(torch.promote_types(rows.dtype, torch.float32))
            return swap(x, self.source[pairs[place.seq.to(pairs.device)], place.pos.cpu()].to(x))

        return replacing(self.where[pairs], exchange)


def interchange_scores(
    model: Any,
    base: Given,
    source: Given,
    targets: Tensor,
    hook_name: str,
    subspaces: Mapping[str, Subspace],
    *,
    at: Positions | None = None,
    metric: Metric | None = None,
    n_controls: int = 5,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """How often a subject says what it should once a base's coordinates in a subspace are swapped for a source's.

    That is the interchange-intervention accuracy of Geiger et al., "Causal abstractions of neural networks", 2021
    (arXiv 2106.02997); with `Rotation.subspace`, of distributed interchange interventions (2023, arXiv 2303.02536).

    Args:
        model: the subject.
        base: the sequences that it is run on.
        source: for each of these another, with as many positions, whose values are put in.
        targets: what the subject should say then: ids [pair, pos], −100 where nothing is asked, or vectors.
        hook_name: where.
        subspaces: by name.
        at: the positions that are swapped: one (or a time step), a mask [pos] or [pair, pos], or all but BOS and
            padding where None.
        metric: `metric(output, batch)`, with the targets in the batch; the share of the asked positions whose likeliest
            class is the target where None, which vectors have not.
        n_controls: for each subspace, so many random ones of as many directions.
        batch_size: pairs a pass.
        seed: of the first of these, and of the intervals.

    Returns:
        A line for each subspace (`given`), each control (`random frame`) and, without a name, for `nothing swapped`
        and `everything swapped` (all coordinates): `value`, the metric's mean over pairs with its interval (95%, over
        documents, where there is more than one), and `loss`, of the targets.

    Raises:
        ValueError: bases and sources are not aligned, targets do not fit, no hook has that name, there is nothing to
            swap, a subspace is of another width, or the metric does not give one number a pair.
    """
    whole_number(n_controls, "n_controls")
    made = Interchange.of(model, base, source, targets, hook_name, at, batch_size=batch_size)
    for subspace in subspaces.values():
        subspace.refuse_width(made.source)
    return scored(
        made,
        torch.arange(len(made.base)),
        {(name, GIVEN): subspace for name, subspace in subspaces.items()},
        metric=checked_metric(metric, targets),
        n_controls=n_controls,
        batch_size=batch_size,
        seed=seed,
    )


def scored(
    made: Interchange,
    pairs: Int[Tensor, " chosen"],
    subspaces: Mapping[tuple[str, str], Subspace],
    *,
    metric: Metric,
    n_controls: int,
    batch_size: int,
    seed: int,
) -> pd.DataFrame:
    """The table of `interchange_scores` for some of the pairs; subspaces go by their name and variant.

    The first subspace of each name and number of directions has random ones beside it, the same for all names.
    """
    lines: list[tuple[str, int, str, int | None, Swap]] = []
    drawn = set()
    for (name, variant), subspace in subspaces.items():
        lines.append((name, subspace.k, variant, None, swapped(subspace)))
        if (name, subspace.k) in drawn:
            continue
        drawn.add((name, subspace.k))
        for draw in range(seed, seed + n_controls):
            frame = Subspace.along(random_frame(subspace.k, made.d, draw))
            lines.append((name, subspace.k, RANDOM, draw, swapped(frame)))
    lines += [("", 0, NOTHING, None, lambda x, s: x), ("", made.d, EVERYTHING, None, lambda x, s: s)]
    docs = made.base.docs[pairs].numpy()
    found, known = [], dict[tuple, tuple[Float[np.ndarray, " chosen"], float]]()  # names share random frames
    for name, k, variant, number, swap in lines:
        key = (k, number) if variant == RANDOM else (name, variant, k)
        if key not in known:
            known[key] = _measured(made, pairs, swap, metric, batch_size)
        values, loss = known[key]
        mean, low, high = mean_over_documents(values[None], docs, seed=seed)
        about = {"hook": made.hook, "name": name, "k": k, "variant": variant, "seed": number}
        found.append(about | {"value": mean[0], "low": low[0], "high": high[0], "loss": loss, "pairs": len(pairs)})
    return pd.DataFrame(found, columns=list(COLUMNS)).astype({"seed": "Int64"})


def checked_metric(metric: Metric | None, targets: Tensor) -> Metric:
    """The metric, or the share of likeliest classes that are the targets.

    Raises:
        ValueError: there is none and targets are vectors, or it does not take the batch.
    """
    if metric is None:
        if targets.is_floating_point():
            raise ValueError("the targets are vectors, of which none is likeliest: give a metric(output, batch).")
        return share_right
    if not takes_batch(metric):
        raise ValueError("the metric must take the batch too, metric(output, batch): it sees some pairs at a time.")
    return metric


def share_right(output: Float[Tensor, "batch pos d_out"], batch: Batch) -> Float[Tensor, " batch"]:
    """Of each sequence, the share of its asked positions at which the target is the likeliest class."""
    answered = slice(-output.shape[1], None)  # a subject that answers once answers for the last position
    targets, asked = batch["targets"][:, answered].to(output.device), asked_positions(batch)[:, answered]
    asked = asked.to(output.device) & (targets != IGNORED)
    return ((output.argmax(-1) == targets) & asked).sum(1) / asked.sum(1)


def _measured(
    made: Interchange, pairs: Int[Tensor, " chosen"], swap: Swap, metric: Metric, batch_size: int
) -> tuple[Float[np.ndarray, " chosen"], float]:
    values, total, asked = [], 0.0, 0
    with as_evaluated(made.model), torch.no_grad():
        for part in pairs.split(batch_size):
            batch = made.batch(part)
            output, loss = made.run(part, swap, "both")
            values.append(measured(metric, output, batch).double().cpu())
            n = int(asked_positions(batch).sum())
            total, asked = total + float(loss) * n, asked + n
    return torch.cat(values).numpy(), total / asked
