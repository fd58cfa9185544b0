"""Many patches in one pass of any subject, each over all that follows from it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from models.dataset import Dataset
from models.evaluation import Batch
from workbench.interventions.metrics import Metric, measured, takes_batch
from workbench.interventions.pairs import run
from workbench.interventions.sites import Patch, Site, putting
from workbench.interventions.values import output_and_values

Values = Float[Tensor, "patch seq"]


@dataclass(frozen=True)
class SomePairs:
    """Some pairs of sequences, with what the subject and the metric are given of them.

    Attributes:
        seq: their numbers.
        corrupt: what the subject is run on.
        clean: what the metric is given beside the output: what was asked of the clean sequences is asked of all runs.
        metric: of a run.
        rows: sequences a pass, at most.
    """

    seq: torch.Tensor
    corrupt: Batch
    clean: Batch
    metric: Metric
    rows: int

    @classmethod
    def of(cls, clean: Dataset, corrupt: Dataset, seq: torch.Tensor, metric: Metric, rows: int) -> "SomePairs":
        return cls(seq, corrupt.batch(seq), clean.batch(seq) | {"seq": seq}, metric, rows)

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def passes(self) -> list[slice]:
        """Which of the sequences are run together: all, where there are not too many for one pass."""
        return [slice(start, min(start + self.rows, len(self))) for start in range(0, len(self), self.rows)]

    def batch(self, part: slice, n_patches: int = 1) -> Batch:
        """What the subject is run on: the sequences, under one patch after the other."""
        return {name: _repeated(value[part], n_patches) for name, value in self.corrupt.items()}

    def measured(self, output: Tensor, n_patches: int = 1) -> Values:
        """The metric of all the sequences under each of some patches: at once, or, of one of the output alone, of each.

        That may be of more than each sequence's own output, such as of their order.
        """
        if takes_batch(self.metric):
            asked = {name: _repeated(value, n_patches) for name, value in self.clean.items()}
            value = measured(self.metric, output, asked).unflatten(0, (n_patches, len(self)))
        else:
            value = torch.stack([measured(self.metric, each, self.clean) for each in output.chunk(n_patches)])
        return value.double().cpu()


def _repeated(x: Tensor, n: int) -> Tensor:
    return x if n == 1 else x.repeat(n, *[1] * (x.ndim - 1))


def rerun(model: Any, given: SomePairs, sites: Sequence[Site], patches: Sequence[Patch]) -> Values:
    """The metric under each of some patches, sorted by their sites. Whatever hooks the subject has stay at work."""
    outputs = []
    for part in given.passes:
        with patched(model, [site.of(part) for site in sites], patches):
            outputs.append(run(model, given.batch(part, len(patches))))
    return given.measured(torch.cat(outputs), len(patches))


@contextmanager
def patched(model: Any, sites: Sequence[Site], patches: Sequence[Patch], first: int = 0, **how: Any) -> Iterator[None]:
    """Each site's patches attached to its hook; `first` of the pass's patches come before these."""
    hooks = []
    for number, group in groupby(patches, lambda patch: patch.site):
        of_site = list(group)
        rows = slice(first, first + len(of_site))
        hooks.append((sites[number].name, putting(sites[number], of_site, rows, **how)))
        first = rows.stop
    with model.hooks(fwd_hooks=hooks):
        yield


class BothRuns(NamedTuple):
    """A clean and a corrupt run of some pairs.

    Attributes:
        clean, corrupt: what stands at some hooks, positions first: [seq, pos, …].
        output: of the corrupt run; None where nobody wants it whole.
        of_clean, of_corrupt: the metric of each.
    """

    clean: dict[str, Tensor]
    corrupt: dict[str, Tensor]
    output: Tensor | None
    of_clean: Float[Tensor, " seq"]
    of_corrupt: Float[Tensor, " seq"]

    @classmethod
    def of(cls, model: Any, given: SomePairs, hooks: Sequence[str], of_corrupt: Sequence[str] = ()) -> "BothRuns":
        """Run both, and read some hooks, of the corrupt run more.

        Raises:
            ValueError: a hook does not fire, or holds NaN.
        """
        output, clean = held(model, given.clean, hooks, given.rows)
        values = given.measured(output)[0]
        output, corrupt = held(model, given.corrupt, list(dict.fromkeys([*hooks, *of_corrupt])), given.rows)
        return cls(clean, corrupt, output, values, given.measured(output)[0])


def held(
    model: Any, given: Batch, names: Sequence[str], rows: int, return_type: str | None = "logits"
) -> tuple[Any, dict[str, Tensor]]:
    """A subject's output, and what stands at some hooks, positions first: [seq, pos, …]."""
    found: list[tuple[Any, dict[str, Tensor]]] = []
    for start in range(0, len(given["input"]), rows):
        batch = {name: value[start : start + rows] for name, value in given.items()}
        output, values = output_and_values(model, batch, names, return_type=return_type)
        for name, value in values.items():
            if value.isnan().any():
                raise ValueError(f"{name} holds NaN in one of the two runs: there is nothing to patch with.")
        found.append((output, values))
    outputs, caches = zip(*found, strict=True)
    if len(outputs) == 1:
        return outputs[0], caches[0]
    output = None if return_type is None else torch.cat(outputs)
    return output, {name: torch.cat([cache[name] for cache in caches]) for name in names}
