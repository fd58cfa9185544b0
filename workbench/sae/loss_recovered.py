"""What a subject loses when its activations pass through a dictionary, against losing them altogether."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from models.progress import progress
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
    """Cross-entropy of next tokens with the hook's activations left alone, reconstructed, and ablated.

    BOS and padding are never replaced, and a prediction counts only where it is made from a real position
    after BOS and of a real token. Mean ablation puts the mean over the very positions that are replaced.

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
    chunks = list(_chunks(dataset, batch_size))
    if not any(_counted(mask).any() for _, mask in chunks):
        raise ValueError("the dataset has no token after BOS to predict another from: loss recovered is not defined.")
    mean = _mean_activation(model, chunks, hook, sae)
    replacements: dict[str, Replacement | None] = {
        "ce_clean": None,
        "ce_sae": sae,
        "ce_zero": torch.zeros_like,
        "ce_mean": lambda x: mean.to(x).expand_as(x),
    }
    sums, count = dict.fromkeys(replacements, 0.0), 0
    for tokens, mask in progress(chunks, desc="loss recovered", unit="batch"):
        counted = _counted(mask)
        count += int(counted.sum())
        for name, replace in replacements.items():
            hooks = [] if replace is None else [(hook, _splice(replace, _replaced(mask)))]
            losses = model.run_with_hooks(tokens, return_type="loss", loss_per_token=True, fwd_hooks=hooks)
            sums[name] += losses[counted].double().sum().item()
    ce = {name: total / count for name, total in sums.items()}
    return ce | {f"loss_recovered_{kind}": _recovered(ce, kind) for kind in ("zero", "mean")}


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


def _replaced(mask: Bool[Tensor, "seq time"]) -> Bool[Tensor, "seq time"]:
    """Real positions other than BOS, which stands first."""
    after_bos = mask.clone()
    after_bos[:, 0] = False
    return after_bos


def _counted(mask: Bool[Tensor, "seq time"]) -> Bool[Tensor, "seq target"]:
    """The predictions that count: made from a replaced position, of a real token."""
    return _replaced(mask)[:, :-1] & mask[:, 1:]


def _chunks(
    dataset: Dataset, batch_size: int
) -> Iterator[tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]]:
    mask = dataset.mask
    assert mask is not None  # a `Dataset` fills in the mask of full rows
    for start in range(0, len(dataset), batch_size):
        rows = slice(start, start + batch_size)
        yield dataset.tokens[rows], mask[rows]


def _splice(replace: Replacement, where: Bool[Tensor, "batch time"]) -> Callable[[Tensor, Any], Tensor]:
    def edit(activation: Tensor, hook: Any) -> Tensor:
        edited = activation.clone()
        rows = activation[where]
        edited[where] = replace(rows.flatten(1)).to(activation.dtype).view_as(rows)
        return edited

    return edit


def _mean_activation(model: Any, chunks: list[tuple[Tensor, Tensor]], hook: str, sae: SAE) -> Float[Tensor, " d"]:
    """The mean over the positions that are replaced, in float64."""
    total, count = torch.zeros(sae.cfg.d_in, dtype=torch.float64), 0

    def add(activation: Tensor, hook: Any) -> None:
        nonlocal total, count
        rows = activation[where].flatten(1)
        sae.check_width(rows)
        total += rows.double().sum(0).cpu()
        count += len(rows)

    for tokens, mask in chunks:
        where = _replaced(mask)
        model.run_with_hooks(tokens, return_type=None, fwd_hooks=[(hook, add)])
    return total / count
