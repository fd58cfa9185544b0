"""How well a subject does on sequences it was not trained on."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from models.hooks import HookedModel
from models.loss import IGNORED

Batch = dict[str, Tensor]
Accuracy = Callable[[Tensor, Batch], float]


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


def evaluate(
    model: HookedModel, batch: Batch, *, accuracy: Accuracy | None = None, batch_size: int = 256
) -> dict[str, float]:
    """The mean loss over all positions asked (`loss`) and, where `accuracy` is given, its mean (`accuracy`).

    Args:
        model: a subject, called as `model(**batch, return_type=…)`.
        batch: what it is called with, as `Dataset.batch` gives it.
        accuracy: what share of an output is right, as `Task.accuracy` tells.
        batch_size: sequences a forward pass.
    """
    was_training = model.training
    model.eval()
    totals: dict[str, float] = {}
    count = 0
    with torch.inference_mode():
        for start in range(0, len(batch["input"]), batch_size):
            part = {name: value[start : start + batch_size] for name, value in batch.items()}
            n = int(asked_positions(part).sum())
            if n == 0:
                continue
            if accuracy is None:
                found = {"loss": float(model(**part, return_type="loss"))}
            else:
                output, loss = model(**part, return_type="both")
                found = {"loss": float(loss), "accuracy": accuracy(output, part)}
            count += n
            for name, value in found.items():
                totals[name] = totals.get(name, 0.0) + value * n
    model.train(was_training)
    return {name: total / count for name, total in totals.items()}
