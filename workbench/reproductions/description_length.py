"""Two labels that a probe tells equally well, and the bits that they take: what accuracy does not see."""

import numpy as np
import pandas as pd

from probes import LogisticProbe, MLPProbe
from probes.controls import control_task, shuffled
from probes.description_length import description_length
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.planted_words import Labelled, PlantedWords
from workbench.reproductions.python_source import python_source
from workbench.reproductions.syntax_recording import labelled, recordings

TITLE = "Description length tells apart what accuracy does not"
PAPER = "Voita & Titov 2020, Information-theoretic probing with minimum description length, arXiv 2003.12298"

# So few words that a linear probe can learn one label for each of them by heart.
WORDS = PlantedWords(n_words=200, noise=0.3)
N_FIT, N_HELD_OUT = 12_000, 4_000
HOOK, LABEL = "blocks.1.hook_resid_post", "token_type"
TASKS = ("label", "control task", "shuffled labels")
# What the planted rows are read with, and what the subject is read with.
LINEAR, LARGE = "linear", "MLP, 512 units"
NEAR, TIMES = 0.02, 2.0


def reproduce(bench: Bench) -> list[Row]:
    """Accuracy and code length of a label and of its control task, on planted words and on the Python source."""
    seeds = range(5 if bench.full else 1)
    lines = [line | {"rows": "planted", "seed": s} for s in seeds for line in measured(planted(s), LINEAR, s)]
    stores = recordings(bench, python_source(bench), [HOOK])
    for subject, store in zip(("trained", "untrained"), stores, strict=True):
        bench.tell(f"codes of {LABEL} in the {subject} subject")
        rows = labelled(store, HOOK, LABEL)
        tasks = TASKS if subject == "trained" else TASKS[:1]
        lines += [line | {"rows": subject, "seed": s} for s in seeds for line in measured(rows, LARGE, s, tasks)]
    found = pd.DataFrame(lines)
    bench.table("description_length", found)
    return rows_of(found)


def planted(seed: int) -> Labelled:
    """Rows that hold a tag and a word."""
    return WORDS.draw(N_FIT, N_HELD_OUT, seed)


def measured(rows: Labelled, probe: str, seed: int, tasks: tuple[str, ...] = TASKS) -> list[dict[str, object]]:
    """Of each task the held-out `accuracy` and the `bits` of the labels of the rows that are fitted on."""
    labels = {
        "label": rows.label,
        "control task": control_task(rows.word, rows.label, seed=seed),
        "shuffled labels": shuffled(rows.label, seed=seed),
    }
    estimator = LogisticProbe() if probe == LINEAR else MLPProbe(512, random_state=seed)
    fit, held_out = slice(rows.n_fit), slice(rows.n_fit, None)
    lines = []
    for task in tasks:
        y = labels[task]
        length = description_length(estimator, rows.x[fit], y[fit], seed=seed)
        share = np.bincount(y[fit]) / rows.n_fit
        entropy = -(share[share > 0] * np.log2(share[share > 0])).sum() * length.n_rows
        accuracy = estimator.fit(rows.x[fit], y[fit]).score(rows.x[held_out], y[held_out])
        numbers = {
            "bits": float(length.bits[0]),
            "compression": float(length.compression[0]),
            "rows_sent": length.n_rows,
        }
        lines.append({"task": task, "probe": probe, "accuracy": accuracy, "bits_of_frequencies": entropy} | numbers)
    return lines


def rows_of(found: pd.DataFrame) -> list[Row]:
    """The table: each task on either kind of rows, and the disagreement."""
    rows = []
    for kind, what in (("planted", "planted tags"), ("trained", f"{LABEL}, Python source")):
        part = found[found["rows"] == kind]

        def of(task: str, column: str, part: pd.DataFrame = part) -> list[float]:
            return part.loc[part["task"] == task, column].tolist()

        probe, n = part["probe"].iloc[0], part["seed"].nunique()
        sent = f"{int(part['rows_sent'].iloc[0]):,} labels"
        rows += [
            Row(
                f"{what}, {probe}, {task}: accuracy, thousand bits of {sent}, compression; {n} seed(s)",
                "",
                f"{spread(of(task, 'accuracy'))}, {_thousands(of(task, 'bits'))}, "
                f"{spread(of(task, 'compression'), 2)}; from frequencies {_thousands(of(task, 'bits_of_frequencies'))}",
            )
            for task in TASKS
        ]
        gap = np.abs(np.subtract(of("label", "accuracy"), of("control task", "accuracy"))).tolist()
        times = np.divide(of("control task", "bits"), of("label", "bits")).tolist()
        rows += [
            Row(
                f"{what}: accuracies of label and control task apart by",
                "alike",
                spread(gap),
                f"≤ {NEAR} in every seed",
                bool(np.max(gap) <= NEAR),
            ),
            Row(
                f"{what}: the control task's code, times the label's",
                "several times as long",
                spread(times, 2),
                f"≥ {TIMES:.0f} in every seed",
                bool(np.min(times) >= TIMES),
            ),
        ]
    random = found[found["rows"] == "untrained"]
    numbers = f"{spread(random['accuracy'].tolist())}, {_thousands(random['bits'].tolist())}"
    compression = spread(random["compression"].tolist(), 2)
    return [
        *rows,
        Row(f"{LABEL}, random weights, {LARGE}: accuracy, thousand bits, compression", "", f"{numbers}, {compression}"),
    ]


def _thousands(bits: list[float]) -> str:
    return spread([value / 1000 for value in bits], 2)
