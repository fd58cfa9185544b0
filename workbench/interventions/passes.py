"""`measure_jobs`: the same sequences under many interventions, as many of them in one pass as fit."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import as_evaluated
from models.progress import progress
from models.step_hooks import HookFunction
from workbench.interventions.metrics import Metric, measured, takes_batch
from workbench.interventions.pairs import batch_of, run

Hooks = list[tuple[str, HookFunction]]
HooksOf = Callable[[Sequence[int], Int[Tensor, " chosen"]], Hooks]


def refuse_unusable(metric: Metric, *, n_controls: int, batch_size: int, seed: int) -> None:
    """Before anything is run: what every analysis is told beside what it is of.

    Raises:
        TypeError: a number is no whole number.
        ValueError: it is negative, no sequence fits a pass, or the metric cannot be called.
    """
    takes_batch(metric)
    whole_number(n_controls, "n_controls")
    whole_number(batch_size, "batch_size", least=1)
    whole_number(seed, "seed")


def measure_jobs(
    model: Any,
    data: Dataset,
    metric: Metric,
    n_jobs: int,
    hooks_of: HooksOf,
    *,
    asked: Dataset | None = None,
    batch_size: int = 64,
    desc: str = "interventions",
) -> Float[Tensor, "job seq"]:
    """A metric of every sequence under every job, in double precision.

    A pass has all of some sequences under some jobs, one job after the other. A metric of the output alone may depend
    on which sequences there are: it is given a job's output of all of them, in their order.

    Args:
        model: the subject; it is run in evaluation mode, and left in the mode that it was in.
        data: its sequences.
        metric: what is measured.
        n_jobs: how many jobs there are.
        hooks_of: the forward hooks of a pass, `hooks_of(jobs, seq)`, for a batch `[job · seq, …]`.
        asked: the sequences that the metric is given beside the output, which say what is asked: the same where None.
        batch_size: sequences a pass, whichever jobs they are under.
        desc: what the progress bar says.

    Raises:
        ValueError: the metric does not give one finite number a sequence.
    """
    whole_number(batch_size, "batch_size", least=1)
    chunks = list(torch.arange(len(data)).chunk(-(-len(data) // batch_size)))
    at_once = max(1, batch_size // len(chunks[0]))
    groups = [range(first, min(first + at_once, n_jobs)) for first in range(0, n_jobs, at_once)]
    asked = data if asked is None else asked
    values = torch.empty(n_jobs, len(data), dtype=torch.float64)
    by_sequence = takes_batch(metric)
    # What a job puts in is made for some sequences; jobs follow one another on these, unless outputs must be joined.
    order = [(g, c) for c in chunks for g in groups] if by_sequence else [(g, c) for g in groups for c in chunks]
    outputs: list[Tensor] = []
    with as_evaluated(model), torch.inference_mode():
        for jobs, seq in progress(order, desc=desc, unit="pass"):
            rows = seq.repeat(len(jobs))
            with model.hooks(fwd_hooks=hooks_of(jobs, seq)):
                output = run(model, batch_of(data, rows))
            if by_sequence:
                of_rows = measured(metric, output, batch_of(asked, rows))
                values[jobs.start : jobs.stop, seq] = of_rows.view(len(jobs), -1).double().cpu()
                continue
            outputs.append(output.unflatten(0, (len(jobs), -1)))
            if seq[-1] == len(data) - 1:
                whole = batch_of(asked, torch.arange(len(data)))
                for job, of_job in zip(jobs, torch.cat(outputs, 1), strict=True):
                    values[job] = measured(metric, of_job, whole).double().cpu()
                outputs.clear()
    return values.clone()
