"""How well a subject does on sequences it was not trained on."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from models.hooks import HookedModel
from models.loss import IGNORED

Batch = dict[str, Tensor]
Right = Callable[[Tensor, Batch], tuple[int, int]]


def asked_positions(batch: Batch) -> Bool[Tensor, "batch pos"]:
    """Where the output is compared with something: where a target stands, or before each real next token."""
    mask, targets = batch.get("mask"), batch.get("targets")
    if mask is None:
        mask = torch.ones(batch["input"].shape[:2], dtype=torch.bool, device=batch["input"].device)
    if targets is None:
        return torch.nn.functional.pad(mask[:, 1:], (0, 1))
    return mask & (~targets.isnan().any(-1) if targets.is_floating_point() else targets != IGNORED)


def accepted(model: Any, batch: Batch) -> Batch:
    """Those entries of a batch that the model's `forward` has a parameter for; never the targets."""
    known = inspect.signature(model.forward).parameters
    return {name: value for name, value in batch.items() if name in known and name != "targets"}


@contextmanager
def as_evaluated(model: torch.nn.Module) -> Iterator[None]:
    """The subject in evaluation mode, and afterwards each part of it in the mode that it was in, whatever is raised."""
    modes = [(module, module.training) for module in model.modules()]
    if any(was_training for _, was_training in modes):
        model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            if module.training != was_training:  # to set what a module has takes longer than to ask for it
                module.training = was_training


def evaluate(
    model: HookedModel, batch: Batch, *, right: Right | None = None, batch_size: int = 256
) -> dict[str, float]:
    """The mean loss over all positions asked (`loss`) and, where `right` is given, the share it finds (`accuracy`).

    Args:
        model: a subject, called as `model(**batch, return_type=…)`.
        batch: what it is called with, as `Dataset.batch` gives it.
        right: of an output, how many of how many are right, as `Task.right` counts them.
        batch_size: sequences a forward pass.
    """
    loss = n_asked = n_right = n_judged = 0.0
    with as_evaluated(model), torch.inference_mode():
        for start in range(0, len(batch["input"]), batch_size):
            part = {name: value[start : start + batch_size] for name, value in batch.items()}
            n = int(asked_positions(part).sum())
            if n == 0:
                continue
            if right is None:
                mean = model(**part, return_type="loss")
            else:
                output, mean = model(**part, return_type="both")
                hits, judged = right(output, part)
                n_right, n_judged = n_right + hits, n_judged + judged
            loss, n_asked = loss + float(mean) * n, n_asked + n
    found = {"loss": loss / n_asked}
    return found if right is None else found | {"accuracy": n_right / n_judged}
