"""Which table of probes is looked at, by which score, and what stands beside the probe: the choices as a value."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from apps import serve_results
from apps.choices import segments, select
from probes.report import PROBE
from workbench.figures.probe_scores import SCORES, Score, measured
from workbench.probing import read_results
from workbench.runs import Artifact, Run


@dataclass(frozen=True)
class Chosen:
    """What is looked at.

    Attributes:
        artifact: the published table.
        estimator: whose lines are shown.
        score: the measure.
        control: the variant beside the probe; None where none has this score.
        difference: their difference instead of both.
    """

    artifact: Artifact
    estimator: str
    score: Score
    control: str | None
    difference: bool


def choose(run: Run, found: dict[str, Artifact], *, one_label: bool) -> tuple[Chosen, pd.DataFrame]:
    """The table, of one range of positions, the estimator and the score; what stands beside, if there is a heat map."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        # Names come from files: a selectbox shows them as they are, other choices would read them as Markdown.
        newest = run.find("probes").name
        name = select("Result", list(found), newest, "probes") if len(found) > 1 else newest
        results = serve_results.opened(found[name], read_results)
        estimators = results["probe"].unique().tolist()
        estimator = (
            select("Estimator", estimators, estimators[0], "estimator") if len(estimators) > 1 else estimators[0]
        )
        ranges = results["positions"].unique().tolist()
        if len(ranges) > 1:
            results = results[results["positions"] == select("Positions", ranges, ranges[0], "positions")]
        own = results[results["probe"] == estimator]
        scores = {SCORES[score]: score for score in SCORES if measured(own, score)} or {SCORES["accuracy"]: "accuracy"}
        score = scores[segments("Score", list(scores), "score")]
        controls = [name for name in measured(own, score) if name != PROBE]
        control, difference = controls[0] if controls else None, False
        if controls and (not one_label or len(estimators) > 1):
            control = segments("Beside the probe", controls, "beside")
            difference = st.toggle("Difference", key="difference", bind="query-params", persist_state="session")
    return Chosen(found[name], estimator, score, control, difference), results
