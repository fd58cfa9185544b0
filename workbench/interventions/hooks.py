"""`edit_at`: an edit as the hook of a subject, at any hook, position and time step."""

from typing import Any

from torch import Tensor

from models.dataset import Dataset
from models.step_hooks import HookFunction
from workbench.activations.recorder import axis_of
from workbench.interventions.edits import Edit
from workbench.interventions.pairs import as_dataset
from workbench.interventions.positions import Positions, editable
from workbench.interventions.replacing import replacing


def edit_at(
    model: Any, data: Dataset | Tensor, hook_name: str, edit: Edit, at: Positions | None = None, *, bos: bool = False
) -> list[tuple[str, HookFunction]]:
    """What to give `run_with_hooks` (`fwd_hooks=`) or `hooks` of a subject, alone or with other such lists.

    Hooks of several edits at one point act one after the other. In a recurrence the edit of a step is what all later
    steps go on from, and positions before it are as they were. Heads are taken side by side: a hook of heads
    [batch, pos, head, d] has rows of head × d numbers.

    Args:
        model: the subject, about to be run on these sequences.
        data: what it will be run on; tokens alone where nothing is padding.
        hook_name: where.
        edit: of the rows there.
        at: one position or step, a mask [pos] or [batch, pos], or every real one where None; then what a subject goes
            on to say (`generate`) is edited too, after prompts of any length. Padding is never edited.
        bos: whether BOS may be edited too.

    Raises:
        ValueError: no hook has that name, or a position is not there; and, as the subject is run, rows are of another
            width than the edit's directions, become NaN or infinite, or there are other sequences.
    """
    data = as_dataset(data)
    where = editable(model, data, hook_name, at, bos=bos)
    (hook,) = model.match_hooks(hook_name)
    new = ~data.on_axis(axis_of(model, hook)).mask if at is None else None
    return [(hook_name, replacing(where, lambda rows, _: edit(rows), new))]
