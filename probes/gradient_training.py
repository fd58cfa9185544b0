"""The one loop by which probes without a closed form are trained: AdamW, held-out examples, the best weights kept."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

# The mean over the examples with these numbers.
Loss = Callable[[nn.Module, Tensor], Tensor]

VALIDATION_SHARE = 0.1
# With fewer examples none are held out.
MIN_EXAMPLES = 10
# An epoch of fewer steps learns too little to be judged by, unless its batches would be small.
STEPS_PER_EPOCH, MIN_BATCH = 20, 32
DECAY_EXAMPLES = 1000
# No step takes more than this share of the weights away.
MOST_DECAY = 0.1


@dataclass(eq=False, repr=False, kw_only=True)
class GradientTrained:
    """An estimator that is trained, and how.

    Its subclasses are dataclasses too, so that scikit-learn finds these settings among those of their own.

    Args:
        lr: the learning rate.
        weight_decay: AdamW's on a thousand examples; of n it is 1000/n times that, as the weight of a prior is.
        batch_size: examples a step; of few examples fewer, so that an epoch has twenty steps, but at least 32.
        max_epochs: at most.
        patience: training ends when the loss on a tenth of the examples, held out, has not fallen for so many epochs;
            with fewer than ten examples it is the loss of training.
        random_state: of the weights, of the order of examples, and of which are held out.

    Attributes:
        losses_: on the held-out examples, after each epoch.
        n_iter_: how many epochs.
    """

    lr: float = 1e-2
    weight_decay: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 100
    patience: int = 5
    random_state: int = 0

    def _train(self, module: nn.Module, loss: Loss, n: int) -> nn.Module:
        """Train on n examples: the module, changed in place, with its best weights and in evaluation mode."""
        for name in ("lr", "batch_size", "max_epochs"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above zero.")
        rng = np.random.default_rng(self.random_state)
        fit, held_out = _split(n, rng)
        batch_size = min(self.batch_size, max(MIN_BATCH, len(fit) // STEPS_PER_EPOCH))
        decay = min(self.weight_decay * DECAY_EXAMPLES / len(fit), MOST_DECAY / self.lr)
        optimiser = torch.optim.AdamW(module.parameters(), lr=self.lr, weight_decay=decay)
        device = next(module.parameters()).device
        self.losses_: list[float] = []
        best, state = float("inf"), copy.deepcopy(module.state_dict())
        for epoch in range(self.max_epochs):
            module.train()
            for batch in torch.from_numpy(rng.permutation(fit)).to(device).split(batch_size):
                optimiser.zero_grad()
                loss(module, batch).backward()
                optimiser.step()
            self.losses_.append(_mean(module, loss, torch.from_numpy(held_out).to(device), self.batch_size))
            if self.losses_[-1] < best:
                best, state, at = self.losses_[-1], copy.deepcopy(module.state_dict()), epoch
            elif not self.losses_[-1] < float("inf"):
                raise ValueError("the loss is not a number any more: scale the rows, or lower lr.")
            elif epoch - at >= self.patience:
                break
        self.n_iter_ = len(self.losses_)
        module.load_state_dict(state)
        return module.eval()


@torch.no_grad()
def _mean(module: nn.Module, loss: Loss, chosen: Tensor, batch_size: int) -> float:
    module.eval()
    return sum(loss(module, part).item() * len(part) for part in chosen.split(batch_size)) / len(chosen)


def _split(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if n < MIN_EXAMPLES:
        return np.arange(n), np.arange(n)
    held_out = np.zeros(n, bool)
    held_out[rng.permutation(n)[: round(VALIDATION_SHARE * n)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
