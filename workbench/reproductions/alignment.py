"""Where a decoder with attention looks: on copying, and on writing dates as the ISO standard has them."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from models import recipes
from models.dataset import Dataset
from models.recipes import Recipe
from models.seq2seq import Seq2Seq
from models.tasks.base import Drawn, Task
from models.tasks.copying import Copy
from models.tasks.dates import EOS
from workbench.attention.alignments import alignment_scores
from workbench.reproductions.base import Bench, Row, spread

TITLE = "Attention finds the alignment"
PAPER = "Bahdanau, Cho & Bengio 2015 (arXiv 1409.0473); Luong, Pham & Manning 2015 (arXiv 1508.04025)"

ATTENTIONS = ("bahdanau", "luong_general")
PATTERN = "attn.hook_pattern"
LENGTH = 20
N_EXAMPLES = 400


def reproduce(bench: Bench) -> list[Row]:
    """Train on both tasks; measure accuracy and alignment on examples of neither training nor its measurements."""
    seeds = range(5 if bench.full else 1)
    wanted = {f"copy-none-seed-{seed}": ("copy", "none", seed) for seed in seeds}
    wanted |= {
        f"{task}-{attention}-seed-{seed}": (task, attention, seed)
        for task in ("copy", "dates")
        for attention in ATTENTIONS
        for seed in seeds
    }
    runs = bench.subjects({name: subject(*about) for name, about in wanted.items()})
    measured, by_position = [], []
    for name, (kind, attention, seed) in wanted.items():
        task = _tested_on(subject(kind, attention, seed).task)
        drawn = unseen(task, runs[name].dataset(with_labels=False), N_EXAMPLES, seed)
        for stage, model in (("untrained", runs[name].model(step=0)), ("trained", runs[name].model())):
            about = {"task": kind, "attention": attention, "seed": seed, "stage": stage}
            facts, positions = _measure(model, task, drawn)
            measured.append(about | facts)
            by_position.append(positions.assign(**about))
    found = pd.DataFrame(measured)
    bench.table("accuracy_and_alignment", found)
    bench.table("alignment_by_position", pd.concat(by_position, ignore_index=True))
    return [*_copy_rows(found), *_date_rows(found)]


def subject(task: str, attention: str, seed: int) -> Recipe:
    """The recipe of one subject; the one without attention is otherwise as Bahdanau's."""
    recipe = recipes.get(f"{task}-{'bahdanau' if attention == 'none' else attention.split('_')[0]}")
    recipe = recipe.with_changes(seed=seed)
    return replace(recipe, model=recipe.model | {"attention": attention})


def _tested_on(task: Task | None) -> Task:
    """Copying is tested at one length, the longest."""
    return replace(task, min_length=LENGTH, max_length=LENGTH) if isinstance(task, Copy) else cast(Task, task)


def unseen(task: Task, known: Dataset, n: int, seed: int) -> Drawn:
    """`n` new examples of a task, with the truth about them, whose sources are none of a dataset's."""
    seen = {row.tobytes() for row in cast(Tensor, known.source).numpy()}
    drawn = task.draw(2 * n, np.random.default_rng([seed, n]))
    new = np.flatnonzero([row.tobytes() not in seen for row in cast(np.ndarray, drawn.source)])[:n]
    if len(new) < n:
        raise ValueError(f"only {len(new)} of {2 * n} examples are new: ask for fewer.")
    arrays = ("tokens", "mask", "targets", "source", "source_mask")
    picked: dict[str, Any] = {a: v[new] for a in arrays if (v := getattr(drawn, a)) is not None}
    return Drawn(**picked, truth={name: value[new] for name, value in drawn.truth.items()})


def where_to_look(drawn: Drawn) -> Bool[np.ndarray, "seq target source"]:
    """For each target position, the source positions that what is said next is read off; none where none is known."""
    place = np.arange(cast(np.ndarray, drawn.source).shape[1])
    if "aligned_source" in drawn.truth:
        start = np.ma.filled(drawn.truth["aligned_source"], -1)
        return start[..., None] == place
    start, end = (np.ma.filled(drawn.truth[name], -1)[..., None] for name in ("span_start", "span_end"))
    return (start <= place) & (place < end)


def _measure(model: Seq2Seq, task: Task, drawn: Drawn) -> tuple[dict[str, float], pd.DataFrame]:
    """Accuracy, exact match by greedy decoding and alignment over all positions; and alignment at each position."""
    arrays = drawn.arrays()
    batch: dict[str, Any] = {"input" if name == "tokens" else name: value for name, value in arrays.items()}
    has_attention = model.cfg.attention != "none"
    with torch.inference_mode():
        output, cache = model.run_with_cache(**batch, names_filter=PATTERN if has_attention else "hook_embed")
    facts = {"accuracy": task.accuracy(output, batch), "exact": greedy_exact_match(model, task, batch)}
    if not has_attention:
        return facts, pd.DataFrame()
    scores = alignment_scores(cache[PATTERN][:, 0].numpy(), where_to_look(drawn))
    facts |= scores[["mass", "argmax"]].mean().to_dict()
    return facts, scores.groupby("position", as_index=False)[["mass", "argmax"]].mean()


def greedy_exact_match(model: Seq2Seq, task: Task, batch: dict[str, Tensor]) -> float:
    """The share of examples in which all that the model says of its own is right."""
    wanted = batch["input"]
    eos = task.eos if isinstance(task, Copy) else EOS
    said = model.greedy_decode(batch["source"], batch.get("source_mask"), max_new=wanted.shape[1] - 1, eos=eos)
    said = torch.nn.functional.pad(said, (0, wanted.shape[1] - said.shape[1]))
    return float((said == wanted).all(1).double().mean())


def _copy_rows(found: pd.DataFrame) -> list[Row]:
    rows = []
    without = _of(found, "copy", "none", "accuracy")
    for attention in ATTENTIONS:
        accuracy = _of(found, "copy", attention, "accuracy")
        argmax, untrained = (_of(found, "copy", attention, "argmax", stage) for stage in ("trained", "untrained"))
        gap = [a - b for a, b in zip(accuracy, without, strict=True)]
        where = f"copy, {attention}, length {LENGTH}"
        rows += [
            Row(f"{where}: tokens right", "", spread(accuracy), "≥ .95", min(accuracy) >= 0.95),
            Row(
                f"{where}: more than without attention",
                "BLEU 26.75, not 17.82",
                f"{spread(gap)}; without {spread(without)}",
                "≥ .20",
                min(gap) >= 0.20,
            ),
            Row(
                f"{where}: most attended place is the symbol said",
                "monotonic alignment",
                f"{spread(argmax)}; untrained {spread(untrained)}",
                "≥ .95",
                min(argmax) >= 0.95,
            ),
        ]
    return rows


def _date_rows(found: pd.DataFrame) -> list[Row]:
    rows = []
    for attention in ATTENTIONS:
        exact = _of(found, "dates", attention, "exact")
        mass, argmax = (_of(found, "dates", attention, column) for column in ("mass", "argmax"))
        untrained = _of(found, "dates", attention, "mass", "untrained")
        rows += [
            Row(f"dates, {attention}: exact match, decoded greedily", "", spread(exact), "≥ .98", min(exact) >= 0.98),
            Row(
                f"dates, {attention}: attention on the right span",
                "soft alignment",
                f"{spread(mass)}; untrained {spread(untrained)}",
                "≥ .90",
                min(mass) >= 0.90,
            ),
            Row(f"dates, {attention}: most attended place is in the right span", "", spread(argmax)),
        ]
    return rows


def _of(found: pd.DataFrame, task: str, attention: str, column: str, stage: str = "trained") -> list[float]:
    chosen = (found["task"] == task) & (found["attention"] == attention) & (found["stage"] == stage)
    return found.loc[chosen].sort_values("seed")[column].tolist()
