"""Gradients through time: wⁿ in a scalar network, and the norm against distance in rnn, lstm and gru."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from models import recipes
from models.cells.lstm import LSTM
from models.hooks import HookedModel
from models.recurrent import Recurrent, RecurrentConfig
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.learning import heldout_accuracy

TITLE = "Gradients vanish with distance, and gates keep them"
PAPER = "Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013 (arXiv 1211.5063)"

CELLS = ("rnn", "lstm", "gru")
# Where each cell keeps what it remembers: its hidden state, or the LSTM's cell.
MEMORY = {"rnn": "blocks.0.rnn.hook_h", "gru": "blocks.0.rnn.hook_h", "lstm": "blocks.0.rnn.hook_c"}
WEIGHTS = (0.5, 0.9, 1.0, 1.1)
N_STEPS = 100
N_TRIALS = 128
OPENED_BY = 3.0

# Nothing is said of gates that stand half open, as PyTorch's initial weights leave them.
_PUBLISHED = {"untrained": "", "untrained, forget gates opened": "nearly none", "trained": "slower than rnn"}

Output = Callable[[Tensor], Tensor]


def reproduce(bench: Bench) -> list[Row]:
    """Check wⁿ, then measure how fast gradients fall with distance, before and after training."""
    error = max(scalar_gradient_error(w, N_STEPS) for w in WEIGHTS)
    rows = [
        Row(
            f"scalar linear rnn: relative error of ∂hₙ/∂h₁, n to {N_STEPS}, w of {', '.join(map(str, WEIGHTS))}",
            "wⁿ⁻¹",
            f"{error:.1e}",
            "≤ 1e-12",
            error <= 1e-12,
        )
    ]
    seeds = range(5 if bench.full else 1)
    wanted = {f"{cell}-seed-{seed}": (cell, seed) for cell in CELLS for seed in seeds}
    runs = bench.subjects(
        {name: recipes.get(f"evidence-{cell}").with_changes(seed=seed) for name, (cell, seed) in wanted.items()}
    )
    curves, subjects = [], []
    for name, (cell, seed) in wanted.items():
        run = runs[name]
        data = run.dataset(with_labels=False)
        trials = data.batch(data.sequences("test")[:N_TRIALS])["input"]
        untrained = {"untrained": run.model(step=0)}
        if cell == "lstm":
            untrained["untrained, forget gates opened"] = with_open_gates(run.model(step=0))
        for stage, model in (untrained | {"trained": run.model()}).items():
            curve = gradient_against_distance(model, trials, MEMORY[cell], _log_odds_at_end)
            about = {"cell": cell, "stage": stage, "seed": seed}
            curves.append(pd.DataFrame(about | {"distance": np.arange(len(curve)), "log_norm": curve}))
            subjects.append(about | {"per_step": decay_per_step(curve), "at_end": curve[-1]})
        subjects[-1]["accuracy"] = heldout_accuracy(run)
    bench.table("gradient_against_distance", pd.concat(curves, ignore_index=True))
    found = pd.DataFrame(subjects)
    bench.table("decay", found)
    return rows + _decay_rows(found)


def _decay_rows(found: pd.DataFrame) -> list[Row]:
    def of(cell: str, stage: str, column: str) -> list[float]:
        return found.loc[(found["cell"] == cell) & (found["stage"] == stage), column].tolist()

    rows = []
    for stage in ("untrained", "untrained, forget gates opened", "trained"):
        for cell in CELLS:
            if not (factors := of(cell, stage, "per_step")):
                continue
            slower = None
            if stage == "trained" and cell != "rnn":
                slower = bool((np.abs(np.log(factors)) < np.abs(np.log(of("rnn", stage, "per_step")))).all())
            rows.append(
                Row(
                    f"{cell}, {stage}: the gradient's factor per step of distance",
                    _PUBLISHED[stage] if cell != "rnn" else "exponential decay",
                    spread(factors),
                    "nearer to 1 than rnn's" if slower is not None else "",
                    slower,
                )
            )
    rows += [
        Row(f"{cell}, trained: accuracy on the sign of {N_STEPS} steps of evidence", "", spread(accuracy))
        for cell in CELLS
        if (accuracy := of(cell, "trained", "accuracy"))
    ]
    return rows


def scalar_gradient_error(w: float, n_steps: int) -> float:
    """The largest relative error of ∂hₙ/∂hₜ against wⁿ⁻ᵗ, over all t, in `hₜ = ReLU(w hₜ₋₁ + xₜ)` with one unit.

    The input is one pulse at the first step, so that with w > 0 every state is positive, where ReLU is the identity
    and the recurrence linear. The gradients are those that backward hooks of `hook_h` report, in float64.
    """
    if w <= 0:
        raise ValueError(f"w is {w}: it must be positive, for the recurrence to be linear.")
    cfg = RecurrentConfig(cell="rnn", nonlinearity="relu", d_model=1, d_in=1, d_out=1, dtype=torch.float64)
    model = Recurrent(cfg)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        cell: Any = model.blocks[0].rnn
        for weight, value in ((cell.W_hh, w), (cell.W_ih, 1.0), (model.unembed.W_U, 1.0)):
            weight.fill_(value)
    pulse = torch.zeros(1, n_steps, 1, dtype=torch.float64)
    pulse[:, 0] = 1
    got = gradients(model, pulse, MEMORY["rnn"], lambda output: output[:, -1, 0])[0, :, 0]
    exact = w ** np.arange(n_steps - 1, -1, -1, dtype=np.float64)
    return float(np.abs(got.numpy() / exact - 1).max())


def gradients(model: HookedModel, inputs: Tensor, hook_name: str, output: Output) -> Float[Tensor, "batch pos d"]:
    """The total derivative of `output(model(inputs))`, one number a row, with respect to a hook's value at each step.

    In float64, in a copy of the model: over a hundred steps a gradient falls below what float32 can hold.
    """
    model = deepcopy(model).double().requires_grad_(True)
    cached, forward, backward = model.get_caching_hooks(hook_name, incl_bwd=True)
    with model.hooks(forward, backward):
        output(model(inputs.double() if inputs.is_floating_point() else inputs)).sum().backward()
    return cached[f"{hook_name}_grad"]


def gradient_against_distance(
    model: HookedModel, inputs: Tensor, hook_name: str, output: Output
) -> Float[np.ndarray, " distance"]:
    """Mean over the rows of ln(‖∂y/∂s_{T−k}‖ / ‖∂y/∂s_T‖) for k = 0, 1, …, T − 1: y the output, s the hook's value."""
    norms = gradients(model, inputs, hook_name, output).norm(dim=-1)
    return (norms / norms[:, -1:]).log().mean(0).flip(0).numpy()


def decay_per_step(log_norms: Float[np.ndarray, " distance"]) -> float:
    """The factor λ of the exponential λᵏ that fits a curve of log norms against the distance k best (least squares)."""
    slope, _ = np.polyfit(np.arange(len(log_norms)), log_norms, 1)
    return float(np.exp(slope))


def with_open_gates(model: HookedModel, by: float = OPENED_BY) -> HookedModel:
    """An LSTM with `by` added to the biases of its forget gates, so that at first they are open (Gers et al. 2000)."""
    with torch.no_grad():
        for block in cast(nn.ModuleList, model.blocks):
            cast(LSTM, block.rnn).b_ih.chunk(4)[1].add_(by)
    return model


def _log_odds_at_end(output: Tensor) -> Tensor:
    """Of the two classes at the last step. The loss's gradient is a multiple of it, and so falls off alike."""
    return output[:, -1, 1] - output[:, -1, 0]
