"""`TunedLens`: an affine map a layer, after which the read-out says what the subject will say (Belrose et al. 2023).

lens = TunedLens.fit(model, dataset.split("train"))
logit_lens(model, dataset.split("test"), lens=lens)
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.artifacts import write_json
from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import as_evaluated
from models.progress import progress
from models.tensor_files import save_tensors
from workbench.interventions.gradients import gradients_made
from workbench.interventions.pairs import Given, as_dataset, batch_of
from workbench.interventions.reading_out import ReadOutOf, read_out_of, readable
from workbench.interventions.values import values_at

CONFIG_FILE, WEIGHTS_FILE = "tuned_lens.json", "tuned_lens.safetensors"


@dataclass(frozen=True)
class TunedLens:
    """For each hook `h ↦ h + h A + b`, zero at first, so that it begins as the logit lens (arXiv 2303.08112, eq. 8).

    Attributes:
        hooks: whose values are translated; at the last hook, which the logits are read off, nothing is to be learned.
        A: what is added of each value, for each hook.
        b: what is added to each.
        kl: while it was fitted, of each step and hook the mean KL divergence from the subject's distribution, in nats.
        settings: what it was fitted with: `n_steps`, `batch_size`, `lr`, `shuffled`, `seed`.
        subject: the id of the subject's artifact, where it has one.
    """

    hooks: tuple[str, ...]
    A: Float[Tensor, "hook d d"]
    b: Float[Tensor, "hook d"]
    kl: Float[Tensor, "step hook"]
    settings: dict[str, Any] = field(default_factory=dict)
    subject: str | None = None

    @classmethod
    @gradients_made()
    def fit(
        cls,
        model: Any,
        data: Given,
        *,
        hooks: Sequence[str] | None = None,
        n_steps: int = 250,
        batch_size: int = 16,
        lr: float = 1e-3,
        shuffled: bool = False,
        seed: int = 0,
    ) -> "TunedLens":
        """A lens whose read-out is as near as can be to what the subject says in the end, at every real position.

        Minimises the mean KL divergence from the final distribution to the lens's, all hooks side by side, with Adam
        at a rate that falls linearly to zero. The subject's own weights are left as they are. One seed gives one lens
        on one machine.

        Args:
            model: the subject, as for `logit_lens`.
            data: sequences that it was trained on, or that nothing is measured on later.
            hooks: whose values are translated; where left out all of the stream but its end.
            n_steps: of the optimiser.
            batch_size: sequences a step.
            lr: at the first step.
            shuffled: pair each value with the final logits of another position drawn at random: a control, which can
                learn what the subject says on average and nothing of what the value holds.
            seed: of the order of sequences, and of the shuffling.

        Raises:
            ValueError: as for `logit_lens`; or there is no hook but the last.
        """
        whole_number(n_steps, "n_steps", least=1)
        whole_number(batch_size, "batch_size", least=1)
        if not lr > 0:
            raise ValueError(f"lr is {lr}: it must be above 0.")
        data = as_dataset(data)
        read_out = read_out_of(model)
        names = [name for name in readable(model, read_out, data, hooks) if name != read_out.last]
        if not names:
            raise ValueError(f"there is nothing to tune: {read_out.last} is what the logits are read off.")
        weight = next(model.parameters())
        own = {"dtype": torch.promote_types(weight.dtype, torch.float32), "device": weight.device}
        A = torch.zeros(len(names), read_out.d, read_out.d, **own)
        b = torch.zeros(len(names), read_out.d, **own)
        optimiser = torch.optim.Adam([A, b], lr=lr)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, n_steps)
        generator = torch.Generator().manual_seed(whole_number(seed, "seed"))
        kl = []
        with as_evaluated(model):
            for seq in progress(_batches(len(data), n_steps, batch_size, generator), desc="tuned lens", unit="step"):
                values, final = _rows(model, data, seq, names, read_out.last)
                if shuffled:
                    final = final[torch.randperm(len(final), generator=generator).to(final.device)]
                kl.append(_gradients(read_out, values, final, A, b))
                optimiser.step()
                schedule.step()
        settings = {"n_steps": n_steps, "batch_size": batch_size, "lr": lr, "shuffled": shuffled, "seed": seed}
        subject = getattr(model, "artifact_id", None)
        return cls(tuple(names), A.cpu(), b.cpu(), torch.stack(kl).cpu(), settings, subject)

    def at(self, hook: str, read_out: ReadOutOf) -> Callable[[Tensor], Tensor]:
        """What becomes of rows of a hook before they are read out; those of the last stay as they are.

        Raises:
            ValueError: it was not fitted there, or to a subject of another width.
        """
        if self.b.shape[1] != read_out.d:
            raise ValueError(f"the lens is of {self.b.shape[1]} numbers, but this subject reads out {read_out.d}.")
        if hook == read_out.last:
            return lambda rows: rows
        if hook not in self.hooks:
            raise ValueError(f"the lens was not fitted at {hook}: it was at {', '.join(self.hooks)}.")
        i = self.hooks.index(hook)
        return lambda rows: _translated(rows, self.A[i].to(rows.device), self.b[i].to(rows.device))

    def save(self, path: str | Path) -> Path:
        """Write it into the folder `path`, which is made where there is none, and return it."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).unlink(missing_ok=True)  # no reader may find new weights beside what was said of the old
        save_tensors({"A": self.A, "b": self.b, "kl": self.kl}, folder / WEIGHTS_FILE)
        config = {"hooks": list(self.hooks), "subject": self.subject, "settings": self.settings}
        write_json(folder / CONFIG_FILE, config)
        return folder

    @classmethod
    def load(cls, path: str | Path) -> "TunedLens":
        """The lens in the folder `path`. `ValueError` where there is none, or one that is damaged."""
        folder = Path(path)
        try:
            config = json.loads((folder / CONFIG_FILE).read_text("utf8"))
            tensors = load_file(folder / WEIGHTS_FILE)
        except FileNotFoundError as error:
            missing = Path(error.filename or WEIGHTS_FILE).name
            raise ValueError(f"{folder} holds no tuned lens: it has no {missing}.") from None
        except (ValueError, SafetensorError) as error:
            raise ValueError(f"the tuned lens in {folder} is damaged: {str(error).rstrip('.')}.") from None
        try:
            hooks, A, b, kl = tuple(config["hooks"]), tensors["A"], tensors["b"], tensors["kl"]
            n, d = b.shape
            whole = (len(hooks), *A.shape, kl.shape[1]) == (n, n, d, d, n)
            settings, subject = dict(config["settings"]), config["subject"]
        except (KeyError, TypeError, ValueError, IndexError):
            whole = False
        if not whole:
            raise ValueError(f"the tuned lens in {folder} is damaged: its weights do not fit what is said of them.")
        return cls(hooks, A, b, kl, settings, subject)


def _translated(rows: Tensor, A: Float[Tensor, "d d"], b: Float[Tensor, " d"]) -> Tensor:
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return (wide + wide @ A.to(wide.dtype) + b.to(wide.dtype)).to(rows.dtype)


def _batches(n: int, n_steps: int, batch_size: int, generator: torch.Generator) -> list[Int[Tensor, " chosen"]]:
    """Sequences of each step: all of them in a drawn order, and then again in another."""
    wanted = n_steps * min(batch_size, n)
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-wanted // n))])
    return list(order[:wanted].split(min(batch_size, n)))


@torch.no_grad()
def _rows(
    model: Any, data: Dataset, seq: Tensor, names: list[str], last: str
) -> tuple[Float[Tensor, "hook n d"], Float[Tensor, "n d"]]:
    """What stands at the hooks, and at the last one, at the real positions of some sequences."""
    where = data.mask[seq].nonzero(as_tuple=True)
    found = values_at(model, batch_of(data, seq), [*names, last], (where[0], where[1]))
    return torch.stack([found[name] for name in names]), found[last]


def _gradients(
    read_out: ReadOutOf, values: Float[Tensor, "hook n d"], final: Float[Tensor, "n d"], A: Tensor, b: Tensor
) -> Float[Tensor, " hook"]:
    """The mean KL divergence at each hook; its gradient is left in `A.grad` and `b.grad`, and nowhere else.

    Logits are made of some rows at a time, and their gradient with them.
    """
    A.grad, b.grad, kl = torch.zeros_like(A), torch.zeros_like(b), torch.zeros(len(values), device=A.device)
    for part in torch.arange(len(final)).split(read_out.chunk(final)):
        with torch.no_grad():
            target = read_out(final[part]).log_softmax(-1)
        for i, value in enumerate(values):
            own_A, own_b = A[i].detach().requires_grad_(), b[i].detach().requires_grad_()
            log_p = read_out(_translated(value[part], own_A, own_b)).log_softmax(-1)
            loss = (target.exp() * (target - log_p)).sum() / len(final)
            grads = torch.autograd.grad(loss, [own_A, own_b])
            A.grad[i] += grads[0]
            b.grad[i] += grads[1]
            kl[i] += loss.detach()
    return kl
