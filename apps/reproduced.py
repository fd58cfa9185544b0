"""The reproductions that lie below the root: what each was held against, and what came of it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from apps import serve, serve_results
from models.artifacts import ArtifactError
from workbench import reproductions
from workbench.figures.saved import FIGURE
from workbench.reproductions import NAMES
from workbench.reproductions.base import RESULT
from workbench.runs import Artifact, Run

MET, MISSED, NO_BAR = "met", "missed", "no bar"
_NEEDED = {"result", "published", "ours", "bar", "passed"}


@dataclass(frozen=True)
class Reproduction:
    """One reproduction as it lies in its run.

    Attributes:
        run: that holds it.
        run_name: its path from the root.
        artifact: its table's.
        table: `result`, `published`, `ours`, `bar` and `verdict`, one of `MET`, `MISSED`, `NO_BAR`.
    """

    run: Run
    run_name: str
    artifact: Artifact
    table: pd.DataFrame

    @property
    def title(self) -> str:
        """What it is called."""
        return str(self.artifact.manifest.config.get("title", self.run_name))

    @property
    def paper(self) -> str:
        """Whose result it is."""
        return str(self.artifact.manifest.config.get("paper", ""))

    @property
    def size(self) -> str:
        """`full` or `quick`."""
        return "full" if self.artifact.manifest.config.get("full") else "quick"

    @property
    def made(self) -> str:
        """When, as an ISO time."""
        return str(self.artifact.manifest.made.get("time", ""))

    @property
    def name(self) -> str | None:
        """What `workbench reproduce` calls it; None where its folder does not say."""
        names = [part for part in self.run.path.resolve().parts[-2:] if part in NAMES]
        return names[-1] if names else None

    @property
    def figures(self) -> list[Artifact]:
        """Its tables that have a figure."""
        return [a for a in self.run.artifacts() if a.kind == "analysis" and (a.path / FIGURE).exists()]

    def count(self, verdict: str) -> int:
        """How many of its lines have a verdict."""
        return int((self.table["verdict"] == verdict).sum())


def of_run(run: Run, run_name: str) -> Reproduction | None:
    """The reproduction of a run; None where it is none. Raises `ArtifactError` where its table is damaged."""
    for artifact in run.artifacts():
        if artifact.kind != "analysis" or artifact.name != RESULT or "verb" in artifact.manifest.config:
            continue
        return Reproduction(run, run_name, artifact, _judged(artifact))
    return None


def below_root() -> tuple[list[Reproduction], list[ArtifactError]]:
    """All of them, the newest first; and why some could not be read."""
    found, damaged = [], []
    for name, run in serve.runs().items():
        try:
            one = of_run(run, name)
        except ArtifactError as error:
            damaged.append(error)
            continue
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda one: one.made, reverse=True), damaged


def not_run(found: list[Reproduction]) -> list[str]:
    """The names of those that there are and that lie nowhere below the root."""
    known = {one.name for one in found}
    return [name for name in NAMES if name not in known]


def table_of(artifact: Artifact) -> pd.DataFrame:
    """The tidy table of one of a reproduction's analyses."""
    return serve_results.opened(artifact, serve_results.result_table)


@st.cache_data(show_spinner=False)
def titles() -> dict[str, tuple[str, str]]:
    """Of each name its title and paper, as the files say them."""
    return dict(_titles())


def _titles() -> Iterator[tuple[str, tuple[str, str]]]:
    folder = Path(reproductions.__file__).parent
    for name in NAMES:
        tree = ast.parse((folder / f"{name}.py").read_text("utf8"))
        said = {
            target.id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in ("TITLE", "PAPER")
        }
        yield name, (said.get("TITLE", name), said.get("PAPER", ""))


def _judged(artifact: Artifact) -> pd.DataFrame:
    try:
        table = serve_results.opened(artifact, serve_results.result_table)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{artifact.path} is damaged: its table cannot be read.") from error
    if missing := sorted(_NEEDED - set(table)):
        raise ArtifactError(f"{artifact.path} is damaged: its table has no column {missing[0]}.")
    verdict = table["passed"].map({True: MET, False: MISSED}).astype("object")
    return table.assign(verdict=verdict.where(table["passed"].notna(), NO_BAR)).drop(columns="passed")
