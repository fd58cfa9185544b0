"""Grokking: a network that has learnt its pairs by heart finds out, long after, how to add modulo p."""

from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from models import recipes
from models.recipes import Recipe
from models.saving import checkpoint_steps
from models.tasks.modular_addition import ModularAddition
from workbench.reproductions import grokking_measures as measures
from workbench.reproductions.base import Bench, Row, spread
from workbench.runs import Run

TITLE = "Grokking modular addition by trigonometry"
PAPER = "Nanda et al. 2023, Progress measures for grokking via mechanistic interpretability, arXiv 2301.05217"

KNOWN = 0.99  # the accuracy from which pairs count as known
DELAY = 1000  # steps, each one epoch
ONE_FREQUENCY = 0.85  # of a neuron's variance
BY_HEART = 1e-3  # nats of training loss
PAPERS_SIZE: dict[str, Any] = {"p": 113, "train_share": 0.3}
PAPERS_STEPS = 20_000  # neurons turn to one frequency long after the test loss has fallen


def reproduce(bench: Bench) -> list[Row]:
    """Train, measure every checkpoint and the finished network, and set an untrained one beside it."""
    wanted = subjects_of(bench.full)
    curves, neurons, subjects = [], [], []
    for name, run in bench.subjects(wanted).items():
        task = wanted[name].task
        assert isinstance(task, ModularAddition)
        bench.tell(f"measuring {len(checkpoint_steps(run.path))} checkpoints of {name}")
        logits, table = _final(run, task)
        keys = measures.key_frequencies(logits)
        curve = learning_curve(run, task, keys)
        curves.append(curve.assign(subject=name))
        neurons.append(table.assign(subject=name))
        subjects.append({"subject": name} | _summary(run, task, keys, curve))
    phases = pd.concat([phase_table(curve).assign(subject=curve["subject"][0]) for curve in curves], ignore_index=True)
    bench.table("curves", pd.concat(curves, ignore_index=True), restricted="cos and sin of w_k(a + b), held-out pairs")
    bench.table("neurons", pd.concat(neurons, ignore_index=True))
    bench.table("phases", phases)
    bench.table("subjects", pd.DataFrame(subjects))
    return _rows(pd.DataFrame(subjects))


def subjects_of(full: bool) -> dict[str, Recipe]:
    """The subjects by name: one small one, or five and one of the paper's size."""
    small = recipes.get("modular-addition")
    wanted = {f"p59-seed-{s}": small.with_changes(seed=s) for s in range(5 if full else 1)}
    if not full:
        return wanted
    large = replace(small, task=ModularAddition(**PAPERS_SIZE)).with_changes(n_steps=PAPERS_STEPS)
    return {"p113-seed-0": large} | wanted


def train_pairs(run: Run, task: ModularAddition) -> Bool[Tensor, "a b"]:
    """Which pairs a run was trained on."""
    data = run.dataset(with_labels=False)
    a, b = (data.tokens[data.sequences("train")][:, 1:3] - task.numbers.start).T
    among = torch.zeros(task.p, task.p, dtype=torch.bool)
    among[a, b] = True
    return among


def learning_curve(run: Run, task: ModularAddition, frequencies: list[int]) -> pd.DataFrame:
    """Every checkpoint of a run, measured at the frequencies that are key in the end.

    Returns:
        A row a checkpoint: `step`; `train_loss`, `test_loss`, `restricted_loss` (held-out pairs) and `excluded_loss`
        (training pairs), in nats; `train_accuracy`, `test_accuracy`; `trig_fit`; `gini`, of the embedding's norm over
        frequencies; `sum_of_squares`, of all weights.
    """
    among, rows = train_pairs(run, task), []
    for step in checkpoint_steps(run.path):
        model = run.model(step)
        logits, _ = measures.all_pairs(model, task)
        restricted = measures.restricted_logits(logits, frequencies)
        excluded = measures.excluded_logits(logits, frequencies)
        rows.append(
            {
                "step": step,
                "train_loss": measures.pair_loss(logits, among),
                "test_loss": measures.pair_loss(logits, ~among),
                "train_accuracy": measures.pair_accuracy(logits, among),
                "test_accuracy": measures.pair_accuracy(logits, ~among),
                "restricted_loss": measures.pair_loss(restricted, ~among),
                "excluded_loss": measures.pair_loss(excluded, among),
                "trig_fit": measures.trig_fit(logits, frequencies),
                "gini": measures.gini(measures.fourier_norms(model.W_E[task.numbers].detach(), task)),
                "sum_of_squares": sum(float(p.detach().square().sum()) for p in model.parameters()),
            }
        )
    return pd.DataFrame(rows)


def first_step(curve: pd.DataFrame, reached: pd.Series) -> float:
    """The first step of a curve at which something is so; NaN where it never is."""
    return float(curve.loc[reached, "step"].min())


def halved(curve: pd.DataFrame, column: str) -> float:
    """The step from which a loss stays below half of its highest value; NaN where it never does."""
    below = curve[column] < curve[column].max() / 2
    stays = below[::-1].cummin()[::-1]
    return first_step(curve, stays)


def phase_table(curve: pd.DataFrame) -> pd.DataFrame:
    """The three phases of a curve with its values at the two ends of each.

    Memorisation ends where the excluded loss is lowest: from there on the training pairs lean on the key frequencies.
    The circuit is then formed while the test loss stays high, until it has halved for good; cleanup is what is left,
    to the last checkpoint.

    Returns:
        A row a phase that there is: `phase`, `from_step`, `to_step`, and `NAME_from`, `NAME_to` of the losses, the
        trigonometric fit and the weights' sum of squares.
    """
    last = float(curve["step"].iloc[-1])
    lowest = float(curve.loc[curve["excluded_loss"].idxmin(), "step"])
    falls = halved(curve, "test_loss")
    ends = [0.0, lowest, falls, last] if lowest < falls < last else [0.0, lowest, last]
    names = ["train_loss", "test_loss", "restricted_loss", "excluded_loss", "trig_fit", "sum_of_squares"]
    at = curve.set_index("step")
    rows = []
    for phase, start, end in zip(("memorisation", "circuit formation", "cleanup"), ends, ends[1:], strict=False):
        values = {
            f"{name}_{side}": at.loc[step, name] for name in names for side, step in (("from", start), ("to", end))
        }
        rows.append({"phase": phase, "from_step": start, "to_step": end} | values)
    return pd.DataFrame(rows)


def _final(run: Run, task: ModularAddition, step: int | None = None) -> tuple[measures.Cube, pd.DataFrame]:
    logits, neurons = measures.all_pairs(run.model(step), task)
    return logits, measures.neuron_frequencies(neurons)


def _summary(run: Run, task: ModularAddition, keys: list[int], curve: pd.DataFrame) -> dict[str, Any]:
    """What is judged of one subject, each number beside its control."""
    among = train_pairs(run, task)
    (logits, neurons), (blank_logits, blank_neurons) = _final(run, task), _final(run, task, step=0)
    others = [k for k in range(1, (task.p + 1) // 2) if k not in keys][: len(keys)]
    knows = {part: first_step(curve, curve[f"{part}_accuracy"] >= KNOWN) for part in ("train", "test")}
    falls = halved(curve, "test_loss")
    at_fall = float(curve.set_index("step")["sum_of_squares"].get(falls, float("nan")))
    last = curve.iloc[-1]
    return {
        "p": task.p,
        "frequencies": ", ".join(map(str, sorted(keys))),
        "train_known_at": knows["train"],
        "test_known_at": knows["test"],
        "delay": knows["test"] - knows["train"],
        "test_accuracy": last["test_accuracy"],
        "trig_fit": measures.trig_fit(logits, keys),
        "untrained_trig_fit": measures.trig_fit(blank_logits, keys),
        "one_frequency": float((neurons["explained"] > ONE_FREQUENCY).mean()),
        "untrained_one_frequency": float((blank_neurons["explained"] > ONE_FREQUENCY).mean()),
        "dead": int(neurons["dead"].sum()),
        "memorised_at": float(curve.loc[curve["excluded_loss"].idxmin(), "step"]),
        "restricted_falls_at": halved(curve, "restricted_loss"),
        "test_falls_at": falls,
        "train_loss": last["train_loss"],
        "excluded_loss": last["excluded_loss"],
        "others_excluded_loss": measures.pair_loss(measures.excluded_logits(logits, others), among),
        "shrinkage": last["sum_of_squares"] / at_fall,
        "last_step": int(last["step"]),
    }


def _rows(subjects: pd.DataFrame) -> list[Row]:
    rows = []
    for p, of in subjects.groupby("p", sort=False):
        seeds = f"p = {p}, {len(of)} seed{'s' * (len(of) > 1)}"

        def column(name: str, digits: int = 3, of: pd.DataFrame = of) -> str:
            return spread(of[name].tolist(), digits)

        rows += [
            Row(
                f"steps from 99% of training to 99% of held-out pairs; {seeds}",
                "about 10,000 at p = 113",
                f"{column('delay', 0)}, to {column('test_accuracy')} held out",
                f"≥ {DELAY}",
                bool((of["delay"] >= DELAY).all()),
            ),
            Row(
                f"logits explained by Σ cos w_k(a + b − c); {seeds}",
                "0.95",
                f"{column('trig_fit')}; untrained {column('untrained_trig_fit')}",
                "≥ 0.9",
                bool((of["trig_fit"] >= 0.9).all()),
            ),
            Row(
                f"neurons over 85% of one frequency; {seeds}",
                "0.846",
                f"{column('one_frequency')}; untrained {column('untrained_one_frequency')}",
                "≥ 0.7",
                bool((of["one_frequency"] >= 0.7).all()),
            ),
            Row(f"key frequencies; {seeds}", "14, 35, 41, 42, 52", "; ".join(of["frequencies"])),
            Row(
                f"step at which the restricted loss has halved, and the test loss; {seeds}",
                "before it",
                f"{column('restricted_falls_at', 0)}, and {column('test_falls_at', 0)}",
                "before it",
                bool((of["restricted_falls_at"] < of["test_falls_at"]).all()),
            ),
            Row(
                f"phases: memorisation until step, circuit formation until, cleanup until; {seeds}",
                "1,400, 9,400, 14,000",
                f"{column('memorised_at', 0)}, {column('test_falls_at', 0)}, {of['last_step'].max()}",
            ),
            Row(
                f"excluded loss at the end, nats; {seeds}",
                "rises above chance",
                f"{column('excluded_loss', 2)}, training loss {of['train_loss'].max():.1e}; "
                f"as many other frequencies excluded {of['others_excluded_loss'].max():.1e}",
                f"≥ 1, training loss < {BY_HEART:.0e}",
                bool(((of["excluded_loss"] >= 1) & (of["train_loss"] < BY_HEART)).all()),
            ),
            Row(
                f"weights' sum of squares at the end, of that when the test loss had halved; {seeds}",
                "falls in the cleanup",
                column("shrinkage"),
                "< 1",
                bool((of["shrinkage"] < 1).all()),
            ),
        ]
    return rows
