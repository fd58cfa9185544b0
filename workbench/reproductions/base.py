"""What all reproductions stand on: subjects trained once and kept, and a table of published | ours | bar."""

import importlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import torch
from joblib import Parallel, cpu_count, delayed

from models.artifacts import canonical, publishing
from models.recipes import Recipe
from models.training import train, training_settings
from workbench.figures.saved import FIGURE
from workbench.runs import Run

RESULT = "result"


@dataclass(frozen=True)
class Row:
    """One line of a reproduction's table.

    Attributes:
        result: what was measured, with its unit, and over how many seeds.
        published: what the paper says; empty where it gives no number.
        ours: what was found here, with its spread where there are several seeds.
        bar: what it has to be, in words; empty where it is only reported.
        passed: whether it is; None where there is no bar.
    """

    result: str
    published: str
    ours: str
    bar: str = ""
    passed: bool | None = None


@dataclass(frozen=True)
class Bench:
    """Where a reproduction is made, and how thoroughly.

    Attributes:
        path: the reproduction's folder, itself a run; its subjects are runs inside it.
        full: several seeds at the published size, however long it takes, instead of one seed in minutes.
        tell: takes a line about what is being done.
        used: the subjects that were asked for so far.
    """

    path: Path
    full: bool
    tell: Callable[[str], None]
    used: dict[str, Run] = field(default_factory=dict, init=False)

    def subjects(self, recipes: Mapping[str, Recipe]) -> dict[str, Run]:
        """A run for each recipe, by name: those that are there, and those trained now, a core each.

        Training goes on where a killed one stopped. One thread each: the same weights, however many cores there are.
        """
        missing = {name: recipe for name, recipe in recipes.items() if not _is_trained(self.path / name, recipe)}
        if missing:
            self.tell(f"training {', '.join(missing)}")
            n_jobs = min(len(missing), cpu_count())
            work = (delayed(_train)(self.path / name, recipe, os.getpid()) for name, recipe in missing.items())
            for name in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(work):
                self.tell(f"trained {name}")
        runs = {name: Run.open(self.path / name) for name in recipes}
        self.used.update(runs)
        return runs

    def table(self, name: str, frame: pd.DataFrame, figure: alt.TopLevelMixin | None = None, **config: Any) -> None:
        """Keep a tidy table as `analyses/NAME/result.parquet` of the reproduction's run, its figure beside it."""
        inputs = {f"{subject}/model": made.find("model").id for subject, made in sorted(self.used.items())}
        publish_table(Run.create(self.path), name, frame, {"full": self.full} | config, inputs, figure)


def reproduce(name: str, root: Path, *, full: bool, tell: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Re-make one result under `root/NAME/quick` or `root/NAME/full` and keep its table there."""
    module = importlib.import_module(f"workbench.reproductions.{name}")
    bench = Bench(root / name / ("full" if full else "quick"), full, tell)
    Run.create(bench.path)
    rows: list[Row] = module.reproduce(bench)
    frame = pd.DataFrame([asdict(row) for row in rows]).astype({"passed": "boolean"})
    bench.table(RESULT, frame, title=module.TITLE, paper=module.PAPER)
    return rows


def publish_table(
    run: Run,
    name: str,
    frame: pd.DataFrame,
    config: dict[str, Any],
    inputs: dict[str, str] | None = None,
    figure: alt.TopLevelMixin | None = None,
) -> None:
    """Publish a tidy table as a run's `analyses/NAME/result.parquet`, and its figure as `figure.vl.json`."""
    with publishing(run.path_of("analysis", name), "analysis", inputs=inputs, config=config) as draft:
        frame.to_parquet(draft.path / "result.parquet", index=False)
        if figure is not None:
            (draft.path / FIGURE).write_text(figure.to_json(), "utf8")


def spread(values: list[float], digits: int = 3) -> str:
    """`median (lowest to highest)` of several seeds; the value alone of one."""
    ordered = sorted(values)
    middle = torch.tensor(ordered, dtype=torch.float64).quantile(0.5).item()
    if len(ordered) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({ordered[0]:.{digits}f} to {ordered[-1]:.{digits}f})"


def _is_trained(path: Path, recipe: Recipe) -> bool:
    if not (path / "model" / "manifest.json").exists():
        return False
    run = Run.open(path)
    data, model = run.find("dataset"), run.find("model")
    subject = recipe.build(run.dataset(with_labels=False))
    wanted = [(data, recipe.data_config()), (model, training_settings(subject, recipe.training, recipe.task))]
    return not model.stale and all(
        artifact.manifest.config.get(key) == value
        for artifact, config in wanted
        for key, value in json.loads(canonical(config)).items()
    )


def _train(path: Path, recipe: Recipe, asked_by: int) -> str:
    if os.getpid() != asked_by:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    dataset = recipe.data()
    dataset.save(Run.create(path).path, config=recipe.data_config())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(recipe.build(dataset), dataset, recipe.training, path, task=recipe.task)
    finally:
        torch.set_num_threads(threads)
    return path.name


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed command's trainings would go on, and hold their locks."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
