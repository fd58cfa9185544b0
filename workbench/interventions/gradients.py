"""A metric's gradient in a subject's output, and in what stands at its hooks, with all parameters left alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from models.evaluation import Batch
from models.step_hooks import HookFunction, pos_dim_of, positions_seen
from workbench.interventions.metrics import Metric, measured, takes_batch
from workbench.interventions.pairs import batch_of, run


@contextmanager
def gradients_made(wanted: bool = True) -> Iterator[None]:
    """Gradients are made in here, though the caller may have said `no_grad` or `inference_mode`."""
    with torch.inference_mode(False), torch.set_grad_enabled(wanted):
        yield


def slope_by_output(
    metric: Metric, output: Float[Tensor, "batch pos d_out"], batch: dict[str, Tensor]
) -> Float[Tensor, "batch pos d_out"]:
    """How the metric, summed over sequences, changes with the output.

    Raises:
        ValueError: it does not give one finite number a sequence, or does not depend on the output.
    """
    with gradients_made():
        # What was made in inference mode has no gradients, but its copy has.
        leaf = output.detach().clone().requires_grad_()
        value = measured(metric, leaf, {name: x.clone() for name, x in batch.items()})
        if not value.requires_grad:
            raise ValueError("the metric has no slope: compute it from the output by differentiable operations.")
        return torch.autograd.grad(value.sum(), leaf)[0]


def slopes_by_output(
    metric: Metric, data: Dataset, parts: Sequence[Int[Tensor, " _"]], outputs: Sequence[Callable[[], Tensor]]
) -> Sequence[Tensor | None]:
    """The same for every part of some sequences, where the metric must be given all of them at once; else None.

    Args:
        metric: of the output, or of the output and the batch.
        data: the sequences.
        parts: their numbers, in order.
        outputs: what gives the subject's output of each part.
    """
    if takes_batch(metric) or len(parts) == 1:
        return [None] * len(parts)
    with torch.no_grad():
        whole = torch.cat([output() for output in outputs])
    return slope_by_output(metric, whole, batch_of(data, torch.cat(list(parts)))).split([len(part) for part in parts])


class Leaves:
    """Zeros that are added to what stands at a hook, so that their gradient is its: all steps of a recurrence too.

    Args:
        stopped: whether what stands there is held still, so that no earlier hook is reached through it.
    """

    def __init__(self, stopped: bool = False) -> None:
        self.stopped = stopped
        self.values: dict[str, dict[int, Tensor]] = {}
        self.zeros: dict[str, dict[int, Tensor]] = {}
        self.axes: dict[str, int] = {}

    @property
    def hook(self) -> HookFunction:
        """To be attached wherever a gradient is wanted."""

        def add(value: Tensor, hook: Any) -> Tensor:
            name, first = str(hook.name), positions_seen(value, hook).start
            self.axes[name] = pos_dim_of(hook)
            self.values.setdefault(name, {})[first] = value
            zeros = self.zeros.setdefault(name, {})[first] = torch.zeros_like(value, requires_grad=True)
            return (value.detach() if self.stopped else value) + zeros

        return add

    def at(self, name: str, found: dict[str, dict[int, Tensor]]) -> Float[Tensor, "batch pos *rest"]:
        """What was found at a hook, its steps side by side."""
        steps = torch.cat([found[name][first] for first in sorted(found[name])], self.axes[name])
        return steps.movedim(self.axes[name], 1)

    def slopes(
        self, output: Tensor, towards: Tensor | None, names: Sequence[str], keep_graph: bool = False
    ) -> dict[str, Float[Tensor, "batch pos *rest"]]:
        """The gradients at some hooks of an output, weighted by `towards`; zero where nothing leads there."""
        leaves = [(name, first, zeros) for name in names for first, zeros in self.zeros[name].items()]
        found = torch.autograd.grad(
            output,
            [zeros for *_, zeros in leaves],
            towards,
            retain_graph=keep_graph,
            allow_unused=True,
            materialize_grads=True,
        )
        by_name: dict[str, dict[int, Tensor]] = {}
        for (name, first, _), slope in zip(leaves, found, strict=True):
            by_name.setdefault(name, {})[first] = slope
        return {name: self.at(name, by_name) for name in names}


class Slopes(NamedTuple):
    """Of one run, each hook's as `[batch, pos, …]`.

    Attributes:
        of_output: what was made of the output.
        values: what stood at the hooks.
        slopes: its gradient there, through all that follows; in a recurrence later steps too.
    """

    of_output: Float[Tensor, " batch"]
    values: dict[str, Tensor]
    slopes: dict[str, Tensor]


def slopes_at(
    model: Any,
    batch: Batch,
    of_output: Callable[[Tensor], Float[Tensor, " batch"]],
    hooks: Sequence[str],
    *,
    moved: Mapping[str, tuple[Tensor, Bool[Tensor, "..."]]] | None = None,
    backward: bool = True,
) -> Slopes:
    """One run and, unless `backward` is False, one pass back.

    Args:
        model: the subject.
        batch: what it is run on.
        of_output: a number for each sequence of an output.
        hooks: names.
        moved: for some hooks other values, `[batch, pos, …]`, and where they stand instead. Gradients go past them, so
            that of a recurrence's steps all of which are moved each still has its total derivative.
        backward: whether gradients are wanted.

    Raises:
        ValueError: what is made of the output has no gradient, or nothing came through a hook.
    """
    leaves = Leaves()

    def move(value: Tensor, hook: Any) -> Tensor:
        assert moved is not None
        seen = positions_seen(value, hook)
        values, chosen = (x[:, seen].movedim(1, pos_dim_of(hook)) for x in moved[str(hook.name)])
        return value + torch.where(chosen, values.to(value) - value.detach(), 0)

    taps: list[tuple[str, HookFunction]] = [(name, move) for name in moved or ()]
    taps += [(name, leaves.hook) for name in hooks]
    with gradients_made(backward), model.hooks(fwd_hooks=taps):
        batch = {name: x.clone() for name, x in batch.items()}  # what was made in inference mode has no gradients
        output = run(model, batch)
        for name in hooks:
            if name not in leaves.values:
                raise ValueError(f"nothing came through {name} as the subject was run: it is not in use.")
        if backward and not output.requires_grad:
            raise ValueError(
                f"no gradient leads from {', '.join(hooks)} to the output of this {type(model).__name__}: it is not "
                "made of what stands there by differentiable steps."
            )
        value = of_output(output)
        if backward and not value.requires_grad:
            raise ValueError("the metric has no gradient: it must be made of the output by differentiable steps.")
        slopes = leaves.slopes(value.sum(), None, hooks) if backward else {}
    values = {name: leaves.at(name, leaves.values).detach() for name in hooks}
    return Slopes(value.detach().double().cpu(), values, slopes)
