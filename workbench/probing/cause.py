"""`cause_report`: whether behaviour changes as a probe predicts when what it reads is edited.

That a quantity can be read from a state does not say that the subject reads it there. The state is moved along the
direction, and the question is what the subject does then, beside as large a move along random directions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from workbench.activations.recorder import axis_of
from workbench.interventions import Edit, Subspace, along_random, random_subspace
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.many import EditedPass, Job, Measured, run_edited
from workbench.interventions.metrics import Metric, measured
from workbench.interventions.positions import editable

EDIT, DIRECTION, SUBSPACE = "edit", "random direction", "random subspace"
METRIC, READ, READ_LATER = "metric", "read-out", "read-out later"
NO_PATH = "the output did not change at all: nothing leads from this hook and position to the metric"
ONE_DOCUMENT = "one document: no interval over documents"
COLUMNS = (
    *("hook", "position", "edit", "kind", "strength", "variant", "seed", "measure", "read_hook"),
    *("value", "low", "high", "unedited", "effect", "effect_low", "effect_high"),
    *("predicted", "as_predicted", "beyond_controls", "sequences", "documents", "note"),
)


@dataclass(frozen=True)
class _Line:
    """An edit, or a control of one."""

    name: str
    edit: Edit
    variant: str
    seed: int | None


def cause_report(
    model: Any,
    data: Dataset | Tensor,
    hook_name: str,
    edits: Mapping[str, Edit],
    metric: Metric,
    *,
    readers: Mapping[str, Subspace] | None = None,
    raises: bool | None = None,
    at: Bool[Tensor, "*seq_and_pos"] | None = None,
    positions: Sequence[int] | None = None,
    n_controls: int = 5,
    batch_size: int = 256,
    seed: int = 0,
) -> pd.DataFrame:
    """Edit a subject's activations and report what becomes of its output and of what probes read.

    Args:
        model: the subject.
        data: the sequences that it is run on; tokens alone where nothing is padding.
        hook_name: where the edits are.
        edits: by name: `{f"add {s}": add(direction, s) for s in (-2, -1, 1, 2)} | {"LEACE": erase(eraser)}`.
        metric: of the subject's output [batch, …] one number a sequence, [batch]. A metric with a second parameter is
            given the batch too: `input`, `mask`, what there is of `targets` and `source`, and `edited` [batch, pos].
        readers: for some hooks the direction of a probe there (`Subspace.of_probe`), to see whether it then reads what
            was written, and what later positions and layers make of it.
        raises: whether a higher read-out at `hook_name` should raise the metric or, False, lower it; None if nothing is
            predicted.
        at: the positions that may be edited, a mask [pos] or [batch, pos]; all real ones but BOS where None.
        positions: edit one position (or time step) at a time, each in lines of its own; all at once where None.
        n_controls: draws of each control.
        batch_size: sequences a pass; sequences under different edits share passes.
        seed: of the first draw, and of the intervals.

    Returns:
        A line for each position, edit and variant of it (`edit`; `random direction`: every row moved as far, along
        random directions; `random subspace`: of an edit that takes directions out, as many random ones taken out
        instead), and `measure`: `metric`; `read-out` of the probe at `read_hook`, the mean over the edited positions;
        `read-out later`, over the positions after the last of these. `value` is the mean over the sequences that were
        edited, `unedited` theirs before, `effect` the difference, each with an interval (95%, over documents). On the
        metric's line of an edit: `predicted` (1 or −1) is the sign that the effect should have, from `raises` and the
        change of the read-out, where that has one; `as_predicted`, whether the effect's whole interval has it;
        `beyond_controls`, the share of its control lines whose effect is smaller (in the predicted direction, or, where
        nothing is predicted, in size).

    Raises:
        ValueError: a hook or position is not there, widths do not fit, there is nothing to edit, or the metric does not
            give one finite number a sequence.
    """
    data = data if isinstance(data, Dataset) else Dataset(tokens=data)
    whole_number(n_controls, "n_controls")
    if not edits:
        raise ValueError("no edits were given: name at least one.")
    readers = dict(readers or {})
    _refuse_unfit(model, hook_name, readers, raises)
    able = editable(model, data, hook_name, at)
    real = editable(model, data, hook_name)
    if positions is None:
        places: dict[int | None, Tensor] = {None: able}
    else:
        places = {t: able & editable(model, data, hook_name, t) for t in positions}
        if bare := [t for t, where in places.items() if not where.any()]:
            raise ValueError(f"there is nothing to edit at position {bare[0]}: at has none of its rows.")
    lines = _lines(edits, n_controls, seed)
    jobs = [Job(edit, where) for where in places.values() for edit in (None, *(line.edit for line in lines))]
    found = run_edited(
        model, data, hook_name, jobs, _Measure(metric, readers, real), read=list(readers), batch_size=batch_size
    )
    measures = [(METRIC, "")] + [(kind, hook) for hook in readers for kind in (READ, READ_LATER)]
    rows = []
    for i, position in enumerate(places):
        of_place = _summary(found, i * (len(lines) + 1), lines, measures, data.docs.numpy(), seed)
        _judge(of_place, hook_name, raises)
        rows += [{"hook": hook_name, "position": position} | row for row in of_place]
    kinds = {"position": "Int64", "seed": "Int64", "predicted": "Int64", "as_predicted": "boolean"}
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(kinds | {"beyond_controls": "float64"})


def _refuse_unfit(model: Any, hook_name: str, readers: Mapping[str, Subspace], raises: bool | None) -> None:
    (hook,) = model.match_hooks(hook_name)
    for name, reader in readers.items():
        (read,) = model.match_hooks(name)
        if axis_of(model, read) != axis_of(model, hook):
            raise ValueError(
                f"{read} has rows of the {axis_of(model, read)} and {hook} of the {axis_of(model, hook)}: what is read "
                "must be at the positions that are edited."
            )
        if reader.k != 1:
            raise ValueError(f"the reader of {read} has {reader.k} directions: one is asked.")
    if raises is not None and hook not in readers:
        raise ValueError(f"raises says what a read-out at {hook} should do: give its probe among readers.")


def _lines(edits: Mapping[str, Edit], n_controls: int, seed: int) -> list[_Line]:
    """The edits, each before its controls."""
    lines = []
    seeds = range(seed, seed + n_controls)
    for name, edit in edits.items():
        lines.append(_Line(name, edit, EDIT, None))
        lines += [_Line(name, along_random(edit, s), DIRECTION, s) for s in seeds]
        if edit.centre is not None:
            lines += [_Line(name, random_subspace(edit, s), SUBSPACE, s) for s in seeds]
    return lines


class _Measure:
    """The metric, and each reader's mean over the edited positions and over those after them."""

    def __init__(self, metric: Metric, readers: Mapping[str, Subspace], real: Bool[Tensor, "seq hook_pos"]) -> None:
        self.metric, self.readers, self.real = metric, readers, real

    def __call__(self, run: EditedPass) -> Float[Tensor, "batch measure"]:
        edited = run.batch["edited"]
        value = measured(self.metric, run.output, run.batch)
        columns = [value.double().cpu()]
        later = self.real[run.seq] & (edited.flip(1).cumsum(1).flip(1) == 0)
        for hook, reader in self.readers.items():
            read = reader.coordinates(run.values[hook])[..., 0].double().cpu()
            columns += [_mean_where(read, edited), _mean_where(read, later)]
        return torch.stack(columns, 1)


def _mean_where(x: Float[Tensor, "batch pos"], where: Bool[Tensor, "batch pos"]) -> Float[Tensor, " batch"]:
    """NaN where there is nothing."""
    return torch.where(where, x, 0).sum(1) / where.sum(1)


def _summary(
    measured: Measured,
    first: int,
    lines: Sequence[_Line],
    measures: Sequence[tuple[str, str]],
    docs: np.ndarray,
    seed: int,
) -> list[dict[str, Any]]:
    """The lines of one place, whose first job is the unedited one."""
    jobs = range(first, first + len(lines) + 1)
    seq = measured.seq[measured.job == first].numpy()
    values = np.stack([measured.values[measured.job == job].numpy() for job in jobs])
    rows = []
    for m, (measure, read_hook) in enumerate(measures):
        known = ~np.isnan(values[0, :, m])
        if not known.any():
            continue
        of = docs[seq[known]]
        ours = values[:, known, m]
        mean, low, high = mean_over_documents(ours, of, seed=seed)
        effect, effect_low, effect_high = mean_over_documents(ours - ours[:1], of, seed=seed)
        n_docs = len(np.unique(of))
        for i, line in enumerate(lines, start=1):
            about = {"edit": line.name, "kind": line.edit.name, "strength": line.edit.strength}
            about |= {"variant": line.variant, "seed": line.seed, "measure": measure, "read_hook": read_hook}
            about |= {"value": mean[i], "low": low[i], "high": high[i], "unedited": mean[0], "effect": effect[i]}
            about |= {"effect_low": effect_low[i], "effect_high": effect_high[i], "sequences": int(known.sum())}
            rows.append(about | {"documents": n_docs, "note": ONE_DOCUMENT if n_docs == 1 else ""})
    return rows


def _judge(rows: list[dict[str, Any]], hook_name: str, raises: bool | None) -> None:
    """Add the sign that each edit's effect should have, whether it has, and how it stands among its controls."""
    metric = [row for row in rows if row["measure"] == METRIC]
    if all(row["effect"] == 0 for row in metric):  # no edit reaches it: that is no answer to the question
        for row in metric:
            row["note"] = "; ".join(filter(None, [row["note"], NO_PATH]))
        return
    read = {r["edit"]: r for r in rows if (r["measure"], r["read_hook"], r["variant"]) == (READ, hook_name, EDIT)}
    for row in metric:
        if row["variant"] != EDIT:
            continue
        sign = 0 if raises is None else _sign(read[row["edit"]]) * (1 if raises else -1)
        controls = [other["effect"] for other in metric if other["edit"] == row["edit"] and other is not row]
        if controls and sign:
            row["beyond_controls"] = np.mean([effect * sign < row["effect"] * sign for effect in controls])
        elif controls:
            row["beyond_controls"] = np.mean([abs(effect) < abs(row["effect"]) for effect in controls])
        if sign:
            row["predicted"], row["as_predicted"] = sign, _sign(row) == sign


def _sign(row: dict[str, Any]) -> int:
    """Of an effect whose whole interval has one; 0 otherwise. Without an interval, the effect's own."""
    ends = (row["effect"],) if np.isnan(row["effect_low"]) else (row["effect_low"], row["effect_high"])
    signs = {int(np.sign(end)) for end in ends}
    return signs.pop() if len(signs) == 1 else 0
