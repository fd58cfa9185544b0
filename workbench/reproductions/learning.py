"""How far a subject got, read from its training's log and manifest."""

import pandas as pd

from models.training import LOG
from workbench.runs import Run


def heldout_accuracy(run: Run) -> float:
    """What a trained subject reached at the end, on all held-out examples of its task."""
    return float(run.find("model").manifest.config["results"]["heldout_accuracy"])


def accuracy_by_step(run: Run) -> pd.DataFrame:
    """Held-out accuracy as training went: a row of `step`, `accuracy` for each time that it was measured."""
    lines = pd.read_json(run.path_of("model") / LOG, lines=True)
    found = lines[["step", "heldout_accuracy"]].rename(columns={"heldout_accuracy": "accuracy"})
    return found.dropna().reset_index(drop=True)


def steps_to(accuracy: float, curve: pd.DataFrame) -> float:
    """The step at which a curve (see `accuracy_by_step`) first gets to `accuracy`; infinite if it never does.

    Between two measurements the curve is taken for a straight line.
    """
    there = curve["accuracy"].ge(accuracy).to_numpy()
    if not there.any():
        return float("inf")
    i = int(there.argmax())
    if i == 0:
        return float(curve["step"].iloc[0])
    (x0, y0), (x1, y1) = curve[["step", "accuracy"]].to_numpy()[i - 1 : i + 1]
    return float(x0 + (accuracy - y0) / (y1 - y0) * (x1 - x0))
