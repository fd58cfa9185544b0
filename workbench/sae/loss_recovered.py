"""What a subject loses when its activations pass through a dictionary, against losing them altogether."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models.dataset import Dataset
from models.progress import progress
from models.step_hooks import HookFunction
from workbench.interventions.positions import Place
from workbench.interventions.replacing import replacing
from workbench.sae.base import SAE
from workbench.sae.splice import Splice, clean_rows
from workbench.sae.subject_batch import SubjectBatch, hooks_of

# Logits of a batch are compared some rows at a time: probabilities need not be in memory for all of them.
KL_ROWS = 512
ABLATIONS = ("zero", "mean")

Sums = defaultdict[str, float]


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

    What is replaced, or ablated, is what the dictionary writes: of a transcoder the hook that it predicts, of a
    crosscoder all its hooks, by what it makes of a clean pass (see `workbench.sae.splice`).

    Args:
        model: a hooked model: `run_with_hooks(tokens, return_type="both", loss_per_token=True, fwd_hooks=…)`.
        sae: what reconstructs; its width is that of the hook's activations, heads flattened.
        dataset: documents that were held out of the SAE's training.
        hook_name: the hook; the SAE's own where None.
        batch_size: sequences at once.

    Returns:
        `ce_clean`, `ce_sae`, `ce_zero`, `ce_mean` in nats per token, and `loss_recovered_zero`,
        `loss_recovered_mean`: `(CE_ablated − CE_sae) / (CE_ablated − CE_clean)`, NaN where ablation changes
        nothing. Where the output is a distribution over tokens, also `kl_sae`, `kl_zero`, `kl_mean`, the mean
        KL(clean ‖ replaced) in nats, and `kl_recovered_zero`, `kl_recovered_mean`: `1 − KL_sae / KL_ablated`.

    Raises:
        ValueError: no hook is known, the model has none of that name, the widths differ, or nothing can be
            counted.
    """
    return losses_recovered(model, [sae], dataset, hook_name=hook_name, batch_size=batch_size)[0]


@torch.no_grad()
def losses_recovered(
    model: Any,
    saes: Sequence[SAE],
    dataset: Dataset,
    *,
    hook_name: str | None = None,
    batch_size: int = 32,
) -> list[dict[str, float]]:
    """`loss_recovered` of several dictionaries, which share the passes that none of them is in.

    Raises `ValueError` as it does, and where they do not all read and write the same hooks.
    """
    hooks = [hooks_of(sae.cfg, model, hook_name) for sae in saes]
    if any(other != hooks[0] for other in hooks):
        raise ValueError("the losses of dictionaries of different hooks cannot share their passes: measure one by one.")
    read, written = hooks[0]
    parts = (slice(i, i + batch_size) for i in range(0, len(dataset), batch_size))
    batches = [SubjectBatch.of(dataset, part, model, read[0]) for part in parts]
    count = sum(int(batch.counted.sum()) for batch in batches)
    if not count:
        raise ValueError("the dataset has no token after BOS to predict another from: loss recovered is not defined.")
    means = _means(model, saes, batches, read, written)
    shared: Sums = defaultdict(float)
    sums: list[Sums] = [defaultdict(float) for _ in saes]
    for batch in progress(batches, desc="loss recovered", unit="batch"):
        if not batch.counted.any():
            continue
        clean, loss = _run(model, batch, [])
        shared["ce_clean"] += _total(loss)
        for name, ablation in zip(ABLATIONS, _ablations(batch, written, means), strict=True):
            _count(shared, name, model, batch, ablation, clean)
        for sae, own in zip(saes, sums, strict=True):
            spliced = Splice(sae)
            spliced.put(model, batch, read, written, batch.replaced)
            _count(own, "sae", model, batch, spliced.hooks, clean)
    return [_recovered({name: total / count for name, total in (shared | own).items()}) for own in sums]


def _recovered(found: dict[str, float]) -> dict[str, float]:
    """The mean losses and divergences, and what part of them each ablation's are."""
    ce = {name: found[f"ce_{name}"] for name in ("clean", "sae", *ABLATIONS)}
    recovered = {f"loss_recovered_{kind}": _share(ce[kind] - ce["sae"], ce[kind] - ce["clean"]) for kind in ABLATIONS}
    if "kl_sae" in found:
        kl = {name: found[f"kl_{name}"] for name in ("sae", *ABLATIONS)}
        recovered |= {f"kl_recovered_{kind}": _share(kl[kind] - kl["sae"], kl[kind]) for kind in ABLATIONS}
    return found | recovered


def _share(recovered: float, lost: float) -> float:
    return recovered / lost if lost else float("nan")


def _total(values: Float[Tensor, " counted"]) -> float:
    return values.double().sum().item()


def _count(
    sums: Sums,
    name: str,
    model: Any,
    batch: SubjectBatch,
    hooks: list[tuple[str, HookFunction]],
    clean: Float[Tensor, "counted d_out"],
) -> None:
    """Add the loss of a pass with these hooks, and how far its output is from the clean one."""
    output, loss = _run(model, batch, hooks)
    sums[f"ce_{name}"] += _total(loss)
    if batch.predicts_tokens:
        sums[f"kl_{name}"] += _total(_divergence(clean, output))


def _run(
    model: Any, batch: SubjectBatch, hooks: list[tuple[str, HookFunction]]
) -> tuple[Float[Tensor, "counted d_out"], Float[Tensor, " counted"]]:
    """Output and loss of one pass, where they count."""
    output, loss = model.run_with_hooks(
        **batch.given, **batch.targets, return_type="both", loss_per_token=True, fwd_hooks=hooks
    )
    counted = batch.counted_among(loss)
    return output[:, : loss.shape[1]][counted], loss[counted]


def _divergence(clean: Float[Tensor, "n d_vocab"], output: Float[Tensor, "n d_vocab"]) -> Float[Tensor, " n"]:
    """KL(clean ‖ output) of each row, in nats."""
    parts = zip(clean.split(KL_ROWS), output.split(KL_ROWS), strict=True)
    return torch.cat([kl_divergence(p, q) for p, q in parts])


def kl_divergence(clean: Float[Tensor, "n d_vocab"], output: Float[Tensor, "n d_vocab"]) -> Float[Tensor, " n"]:
    """KL(p ‖ q) of each row, in nats, of the logits of p and of q; differentiable in q's."""
    log_p, log_q = clean.float().log_softmax(-1), output.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _ablations(
    batch: SubjectBatch, written: list[str], means: list[Float[Tensor, " d"]]
) -> list[list[tuple[str, HookFunction]]]:
    """Zeros in the place of what is written, and its mean."""
    zeros = [(hook, replacing(batch.replaced, _zero)) for hook in written]
    mean_rows = [
        (hook, replacing(batch.replaced, partial(_expanded, mean))) for hook, mean in zip(written, means, strict=True)
    ]
    return [zeros, mean_rows]


def _zero(rows: Tensor, _: Place) -> Tensor:
    return torch.zeros_like(rows)


def _expanded(mean: Tensor, rows: Tensor, _: Place) -> Tensor:
    return mean.to(rows).expand_as(rows)


def _means(
    model: Any, saes: Sequence[SAE], batches: list[SubjectBatch], read: list[str], written: list[str]
) -> list[Float[Tensor, " d"]]:
    """The mean of what is written over the positions that are replaced, in float64; refuses rows of another width."""
    sums: list[Tensor | float] = [0.0] * len(written)
    names = list(dict.fromkeys([*read, *written]))
    for batch in batches:
        rows = dict(zip(names, clean_rows(model, batch.given, names, batch.replaced), strict=True))
        for sae in saes:
            _refuse_other_widths(sae, rows, read, written)
        for i, hook in enumerate(written):
            sums[i] = sums[i] + rows[hook].double().sum(0).cpu()
    n = sum(int(batch.replaced.sum()) for batch in batches)
    return [torch.as_tensor(total) / n for total in sums]


def _refuse_other_widths(sae: SAE, rows: dict[str, Float[Tensor, "n _"]], read: list[str], written: list[str]) -> None:
    sae.flat(torch.stack([rows[hook] for hook in read], 1) if sae.cfg.n_layers is not None else rows[read[0]])
    width = sae.cfg.d_out if sae.cfg.d_out is not None else sae.cfg.d_in
    for hook in written:
        if rows[hook].shape[1] != width:
            raise ValueError(f"this SAE writes rows of width {width}, but {hook} is {rows[hook].shape[1]} wide.")
