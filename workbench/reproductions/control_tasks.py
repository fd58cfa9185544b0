"""A probe that can learn anything says little: linear and larger probes beside a task that only words can tell."""

import numpy as np
import pandas as pd

from probes import LogisticProbe, MLPProbe
from probes.controls import control_task, identity_predictions
from probes.validation import majority
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.planted_words import Labelled, PlantedWords
from workbench.reproductions.python_source import python_source
from workbench.reproductions.syntax_recording import labelled, recordings

TITLE = "Linear probes are selective, and perceptrons are not"
PAPER = "Hewitt & Liang 2019, Designing and interpreting probes with control tasks, arXiv 1909.03368"

WORDS = PlantedWords(n_words=1500)
N_FIT, N_HELD_OUT = 12_000, 4_000
HOOK, LABEL = "blocks.1.hook_resid_post", "token_type"
LINEAR, LARGE = "linear", "MLP, 512 units"
FEW = 0.1
NEAR, APART = 0.01, 0.15


def reproduce(bench: Bench) -> list[Row]:
    """Accuracy and control accuracy of several probes, on planted words and on the Python-source transformer."""
    seeds = range(5 if bench.full else 1)
    lines = [line | {"rows": "planted", "seed": s} for s in seeds for line in compared(planted(s), s)]
    stores = recordings(bench, python_source(bench), [HOOK])
    for subject, store in zip(("trained", "untrained"), stores, strict=True):
        rows = labelled(store, HOOK, LABEL)
        bench.tell(f"probes of {LABEL} in the {subject} subject")
        names = None if subject == "trained" else (LINEAR,)
        lines += [line | {"rows": subject, "seed": s} for s in seeds for line in compared(rows, s, names)]
    found = pd.DataFrame(lines)
    bench.table("control_tasks", found)
    return rows_of(found)


def planted(seed: int) -> Labelled:
    """Rows whose label is linear in them."""
    return WORDS.draw(N_FIT, N_HELD_OUT, seed)


def compared(rows: Labelled, seed: int, names: tuple[str, ...] | None = None) -> list[dict[str, object]]:
    """Of each probe the `accuracy` on held-out rows, that of the `control`, and what stands beside them."""
    task = control_task(rows.word, rows.label, seed=seed)
    probes = {
        LINEAR: (LogisticProbe(), 1.0),
        "MLP, 32 units": (MLPProbe(32, random_state=seed), 1.0),
        "MLP, 128 units": (MLPProbe(128, random_state=seed), 1.0),
        LARGE: (MLPProbe(512, random_state=seed), 1.0),
        "MLP, 512 units, weight decay 50": (MLPProbe(512, weight_decay=50.0, random_state=seed), 1.0),
        "MLP, 512 units, a tenth of the rows": (MLPProbe(512, random_state=seed), FEW),
    }
    # The rows of one document lie together: a tenth of the rows is of all of them.
    order = np.random.default_rng(seed).permutation(rows.n_fit)
    lines = []
    for name, (probe, share) in probes.items():
        if names is None or name in names:
            fit = order[: round(share * rows.n_fit)]
            right = {
                what: probe.fit(rows.x[fit], y[fit]).score(rows.x[rows.n_fit :], y[rows.n_fit :])
                for what, y in (("accuracy", rows.label), ("control", task))
            }
            lines.append({"probe": name} | right | {"selectivity": right["accuracy"] - right["control"]})
    truth, word = rows.label[rows.n_fit :], rows.word[rows.n_fit :]
    alone = identity_predictions(rows.word[: rows.n_fit], rows.label[: rows.n_fit], word)
    most = majority(rows.label[: rows.n_fit])
    beside = {"type alone": (alone == truth).mean(), "majority": (most == truth).mean()}
    return [*lines, *({"probe": name, "accuracy": float(value)} for name, value in beside.items())]


def rows_of(found: pd.DataFrame) -> list[Row]:
    """The table: every probe on either kind of rows, and the two comparisons that have a bar."""
    rows = []
    for kind, what in (("planted", "planted tags"), ("trained", f"{LABEL}, Python source")):
        part = found[found["rows"] == kind]

        def of(probe: str, column: str, part: pd.DataFrame = part) -> list[float]:
            return part.loc[part["probe"] == probe, column].tolist()

        n = part["seed"].nunique()
        for probe in part.loc[part["selectivity"].notna(), "probe"].unique():
            numbers = ", ".join(spread(of(probe, column)) for column in ("accuracy", "control", "selectivity"))
            published = {LINEAR: "0.972, 0.712, 0.260", LARGE: "0.973, 0.928, 0.045"}.get(probe, "")
            beside = ", ".join(f"{name} {spread(of(name, 'accuracy'))}" for name in ("type alone", "majority"))
            rows.append(
                Row(
                    f"{what}, {probe}: accuracy, control task, selectivity; {n} seed(s)",
                    published,
                    f"{numbers}; {beside}" if probe == LINEAR else numbers,
                )
            )
        gap = np.subtract(of(LARGE, "accuracy"), of(LINEAR, "accuracy")).tolist()
        more = np.subtract(of(LINEAR, "selectivity"), of(LARGE, "selectivity")).tolist()
        rows += [
            Row(
                f"{what}: the MLP's accuracy above the linear probe's",
                "0.001",
                spread(gap),
                f"≤ {NEAR} in every seed",
                bool(np.max(gap) <= NEAR),
            ),
            Row(
                f"{what}: the linear probe's selectivity above the MLP's",
                "0.215",
                spread(more),
                f"≥ {APART} in every seed",
                bool(np.min(more) >= APART),
            ),
        ]
    untrained = found[(found["rows"] == "untrained") & (found["probe"] == LINEAR)]
    numbers = ", ".join(spread(untrained[column].tolist()) for column in ("accuracy", "control", "selectivity"))
    return [*rows, Row(f"{LABEL}, random weights, {LINEAR}: accuracy, control task, selectivity", "", numbers)]
