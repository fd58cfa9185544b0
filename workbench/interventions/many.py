"""`run_edited`: many edits of the same sequences, as many of them in one pass as fit."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import as_evaluated
from models.progress import progress
from workbench.interventions.edits import Edit
from workbench.interventions.positions import Place
from workbench.interventions.replacing import Replacement, replacing
from workbench.interventions.values import output_and_values


class Job(NamedTuple):
    """An edit of some positions; None leaves them as they are, but goes the same way."""

    edit: Edit | None
    where: Bool[Tensor, "seq hook_pos"]


class EditedPass(NamedTuple):
    """What came of some sequences, each under one of the jobs.

    Attributes:
        seq: their numbers in the dataset.
        batch: what they are, with the positions that are `edited`, [batch, hook_pos], and `seq`.
        output: the subject's.
        values: what stood at the hooks that are read, after the edit: [batch, pos, d], heads flattened.
    """

    seq: Int[Tensor, " batch"]
    batch: dict[str, Tensor]
    output: Tensor
    values: dict[str, Float[Tensor, "batch pos _"]]


class Measured(NamedTuple):
    """A line for each job and each sequence that it edits, in this order."""

    job: Int[Tensor, " n"]
    seq: Int[Tensor, " n"]
    values: Float[Tensor, "n measure"]


def run_edited(
    model: Any,
    dataset: Dataset,
    hook_name: str,
    jobs: Sequence[Job],
    measure: Callable[[EditedPass], Float[Tensor, "batch measure"]],
    *,
    read: Sequence[str] = (),
    batch_size: int = 256,
    desc: str = "interventions",
) -> Measured:
    """Run a subject under every job on every sequence of which the job edits anything, and measure what comes of it.

    Args:
        model: the subject; it is run in evaluation mode, and left in the mode that it was in.
        dataset: its sequences.
        hook_name: where the edits are.
        jobs: what is done.
        measure: numbers of each sequence of a pass.
        read: hooks whose values `measure` is given.
        batch_size: sequences a pass, whichever jobs they belong to.
        desc: what the progress bar says.

    Raises:
        ValueError: rows are of another width than an edit's directions, or there is nothing to edit.
    """
    whole_number(batch_size, "batch_size", least=1)
    pairs = torch.cat([_pairs(number, job) for number, job in enumerate(jobs)], dim=1)
    if not pairs.numel():
        raise ValueError("there is nothing to edit: no job has a position of any sequence.")
    with as_evaluated(model), torch.inference_mode():
        for job, seq in _one_of_each_width(jobs):  # before any long work
            measure(_passed(model, dataset, hook_name, jobs, job, seq, read))
        found = [
            measure(_passed(model, dataset, hook_name, jobs, job, seq, read)).cpu()
            for job, seq in progress(pairs.split(batch_size, dim=1), desc=desc, unit="pass")
        ]
    return Measured(pairs[0], pairs[1], torch.cat(found).clone())


def _pairs(number: int, job: Job) -> Int[Tensor, "2 n"]:
    """A job's number, with each of the sequences that it edits."""
    seq = job.where.any(1).nonzero()[:, 0]
    return torch.stack([torch.full_like(seq, number), seq])


def _one_of_each_width(jobs: Sequence[Job]) -> list[Int[Tensor, "2 1"]]:
    """A sequence under one of the edits of each width: whatever does not fit fails on these already."""
    numbers = {job.edit.subspace.d: number for number, job in enumerate(jobs) if job.edit and job.where.any()}
    return [_pairs(number, jobs[number])[:, :1] for number in numbers.values()]


def _passed(
    model: Any,
    dataset: Dataset,
    hook_name: str,
    jobs: Sequence[Job],
    job: Int[Tensor, " batch"],
    seq: Int[Tensor, " batch"],
    read: Sequence[str],
) -> EditedPass:
    """One pass."""
    batch = dataset.batch(seq)
    edited = torch.stack([jobs[j].where[s] for j, s in zip(job.tolist(), seq.tolist(), strict=True)])
    with model.hooks(fwd_hooks=[(hook_name, replacing(edited, by_job(jobs, job)))]):
        output, values = output_and_values(model, batch, read)
    values = {name: value.flatten(2) for name, value in values.items()}
    return EditedPass(seq, batch | {"edited": edited, "seq": seq}, output, values)


def by_job(jobs: Sequence[Job], job: Int[Tensor, " batch"]) -> Replacement:
    """Each sequence's rows as its own job has them."""

    def replace(rows: Float[Tensor, "n d"], place: Place) -> Float[Tensor, "n d"]:
        numbers, sizes = job.to(place.seq.device)[place.seq].unique_consecutive(return_counts=True)
        parts = zip(numbers.tolist(), rows.split(sizes.tolist()), strict=True)
        return torch.cat([part if (edit := jobs[j].edit) is None else edit(part) for j, part in parts])

    return replace
