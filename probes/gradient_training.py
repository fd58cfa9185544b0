"""The one loop by which probes without a closed form are trained: Adam, held-out rows, the best weights kept."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

# Groups of these are read at once.
Loss = Callable[[nn.Module, Tensor], Tensor]


def train(
    module: nn.Module,
    loss: Loss,
    n: int,
    *,
    lr: float,
    batch_size: int,
    max_epochs: int,
    patience: int,
    validation_share: float,
    seed: int,
    weight_decay: float = 0.0,
    groups: np.ndarray | None = None,
) -> tuple[nn.Module, list[float]]:
    """Train until the loss on held-out examples has not fallen for `patience` epochs.

    Args:
        module: what is trained; it is changed in place and returned with its best weights.
        loss: of the module on the examples with these numbers, their mean.
        n: how many examples there are.
        lr, weight_decay: AdamW's.
        batch_size: examples a step.
        max_epochs: at most.
        patience: see above.
        validation_share: of the examples (or groups), held out for that; with fewer than ten examples none are, and
            the loss is that of training.
        seed: of the order, and of who is held out.
        groups: examples of one group are held out together.

    Returns:
        The module in evaluation mode, and the held-out loss after each epoch.
    """
    rng = np.random.default_rng(seed)
    fit, held_out = _split(n, groups, validation_share, rng)
    optimiser = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=weight_decay)
    device = next(module.parameters()).device
    losses: list[float] = []
    best, state = float("inf"), copy.deepcopy(module.state_dict())
    for epoch in range(max_epochs):
        module.train()
        for batch in torch.from_numpy(rng.permutation(fit)).to(device).split(batch_size):
            optimiser.zero_grad()
            loss(module, batch).backward()
            optimiser.step()
        losses.append(_mean(module, loss, torch.from_numpy(held_out).to(device), batch_size))
        if losses[-1] < best:
            best, state, at = losses[-1], copy.deepcopy(module.state_dict()), epoch
        elif not losses[-1] < float("inf"):
            raise ValueError("the loss is not a number any more: scale the rows, or lower lr.")
        elif epoch - at >= patience:
            break
    module.load_state_dict(state)
    return module.eval(), losses


@torch.no_grad()
def _mean(module: nn.Module, loss: Loss, chosen: Tensor, batch_size: int) -> float:
    module.eval()
    return sum(loss(module, part).item() * len(part) for part in chosen.split(batch_size)) / len(chosen)


def _split(n: int, groups: np.ndarray | None, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    of = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    known = np.unique(of)
    if len(known) < 10:
        return np.arange(n), np.arange(n)
    chosen = rng.permutation(known)[: max(1, round(share * len(known)))]
    held_out = np.isin(of, chosen)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
