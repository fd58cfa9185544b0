"""What a subject loses when its activations pass through a dictionary, against losing them altogether."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.dataset import Dataset
from models.evaluation import accepted, asked_positions
from models.progress import progress
from models.step_hooks import pos_dim_of, positions_seen
from workbench.sae.base import SAE

Replacement = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n d"]]


@torch.no_grad()
def loss_recovered(
    model: Any,
    sae: SAE,
    dataset: Dataset,
    *,
    hook_name: str | None = None,
    batch_size: int = 32,
) -> dict[str, float]:
    """The subject's loss with the hook's activations left alone, reconstructed, and ablated.

    The loss is the cross-entropy of next tokens, or of the dataset's targets where it has any (the squared error where
    these are vectors). BOS and padding are never replaced, and a prediction counts only where it is made from a real
    position after BOS and of a real token. Mean ablation puts the mean over the very positions that are replaced.

    Args:
        model: a hooked model: `run_with_hooks(tokens, return_type="loss", loss_per_token=True, fwd_hooks=…)`.
        sae: what reconstructs; its width is that of the hook's activations, heads flattened.
        dataset: documents that were held out of the SAE's training.
        hook_name: the hook; the SAE's own where None.
        batch_size: sequences at once.

    Returns:
        `ce_clean`, `ce_sae`, `ce_zero`, `ce_mean` in nats per token, and `loss_recovered_zero`,
        `loss_recovered_mean`: `(CE_ablated − CE_sae) / (CE_ablated − CE_clean)`, NaN where ablation changes
        nothing.

    Raises:
        ValueError: no hook is known, the model has none of that name, the widths differ, or nothing can be
            counted.
    """
    hook = _hook_of(model, sae, hook_name)
    chunks = [_Chunk.of(dataset, slice(i, i + batch_size), model, hook) for i in range(0, len(dataset), batch_size)]
    if not any(chunk.counted.any() for chunk in chunks):
        raise ValueError("the dataset has no token after BOS to predict another from: loss recovered is not defined.")
    mean = _mean_activation(model, chunks, hook, sae)
    replacements: dict[str, Replacement | None] = {
        "ce_clean": None,
        "ce_sae": sae,
        "ce_zero": torch.zeros_like,
        "ce_mean": lambda x: mean.to(x).expand_as(x),
    }
    sums = dict.fromkeys(replacements, 0.0)
    count = sum(int(chunk.counted.sum()) for chunk in chunks)
    for chunk in progress(chunks, desc="loss recovered", unit="batch"):
        for name, replace in replacements.items():
            hooks = [] if replace is None else [(hook, _splice(replace, chunk.replaced))]
            losses = model.run_with_hooks(**chunk.given, return_type="loss", loss_per_token=True, fwd_hooks=hooks)
            sums[name] += losses[_columns(chunk.counted, losses)].double().sum().item()
    ce = {name: total / count for name, total in sums.items()}
    return ce | {f"loss_recovered_{kind}": _recovered(ce, kind) for kind in ("zero", "mean")}


def _columns(counted: Bool[Tensor, "seq pos"], losses: Float[Tensor, "seq asked"]) -> Bool[Tensor, "seq asked"]:
    """Where a loss counts: of a subject that answers once, the last position; of next tokens, all but the last."""
    return counted[:, -1:] if losses.shape[1] == 1 else counted[:, : losses.shape[1]]


def _recovered(ce: dict[str, float], kind: str) -> float:
    ablated = ce[f"ce_{kind}"]
    return (ablated - ce["ce_sae"]) / (ablated - ce["ce_clean"]) if ablated != ce["ce_clean"] else float("nan")


def _hook_of(model: Any, sae: SAE, hook_name: str | None) -> str:
    hook = hook_name or sae.cfg.hook_name
    if not hook:
        raise ValueError("this SAE names no hook: say which one it reads with hook_name.")
    if hook not in model.hook_dict:
        raise ValueError(f"the model has no hook called {hook!r}.")
    return hook


@dataclass(frozen=True)
class _Chunk:
    """Some sequences: what the model is given, the positions that are replaced, and those whose loss counts."""

    given: dict[str, Tensor]
    replaced: Bool[Tensor, "seq hook_pos"]
    counted: Bool[Tensor, "seq pos"]

    @classmethod
    def of(cls, dataset: Dataset, rows: slice, model: Any, hook: str) -> "_Chunk":
        batch = dataset.batch(rows)
        axis = model.position_axis(hook) if hasattr(model, "position_axis") else "target"
        counted = asked_positions(batch)
        targets = {name: batch[name] for name in ("targets",) if name in batch}
        return cls(
            given=accepted(model, batch) | targets,
            replaced=dataset.on_axis(axis).counted[rows],
            counted=counted & dataset.counted[rows] if axis == "target" else counted,
        )


def _splice(replace: Replacement, where: Bool[Tensor, "batch time"]) -> Callable[[Tensor, Any], Tensor]:
    def edit(activation: Tensor, hook: Any) -> Tensor:
        here = where[:, positions_seen(activation, hook)]
        edited = activation.clone()
        by_position = edited.movedim(pos_dim_of(hook), 1)  # a view: what is written there is written to the copy
        rows = by_position[here]
        by_position[here] = replace(rows.flatten(1)).to(activation.dtype).view_as(rows)
        return edited

    return edit


def _mean_activation(model: Any, chunks: list[_Chunk], hook: str, sae: SAE) -> Float[Tensor, " d"]:
    """The mean over the positions that are replaced, in float64."""
    total, count = torch.zeros(sae.cfg.d_in, dtype=torch.float64), 0

    def add(activation: Tensor, hook: Any) -> None:
        nonlocal total, count
        rows = activation.movedim(pos_dim_of(hook), 1)[where[:, positions_seen(activation, hook)]].flatten(1)
        sae.flat(rows)
        total += rows.double().sum(0).cpu()
        count += len(rows)

    for chunk in chunks:
        where = chunk.replaced
        model.run_with_hooks(**chunk.given, return_type=None, fwd_hooks=[(hook, add)])
    return total / count
