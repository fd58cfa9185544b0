"""Which labels of a run are angles."""

from typing import Any

from workbench.runs import Run


def circular_of(run: Run) -> dict[str, float]:
    """The angles, with their periods, among the labels of the task that a run's data came from, or its subject."""
    from models.tasks import TASKS

    told = [run.find(kind).manifest.config.get("task") for kind in ("dataset", "model")]
    task: dict[str, Any] = next((one for one in told if one), {})
    known = TASKS.get(task.get("name", ""))
    return {} if known is None else dict(known.circular)
