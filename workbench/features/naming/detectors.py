"""For every statement of the labels the features that detect it best: what a person looks for by what it means."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from probes.detection import Choice, Columns, HeldOut
from workbench.features.naming.scores import EVIDENCE, SCORES, score_frame

# So many of each statement: what is worth looking at, beside the best neuron that detects it.
N_DETECTORS = 25
DETECTOR_COLUMNS = ("concept", "rank", "feature", "threshold", "fit_f1", *SCORES, *EVIDENCE)


def detectors(scorer: HeldOut, columns: Columns, ranked: Choice, concepts: Sequence[str]) -> pd.DataFrame:
    """The columns that detect each concept best, whatever names them themselves.

    Columns and thresholds were chosen by F1 on the fitting rows; `rank` is the order of that choice, from 0. All other
    scores but `fit_f1` are of the held-out rows. What had no hit where it was chosen is left out.

    Args:
        scorer: the held-out rows, with the conjunctions behind the single concepts.
        columns: of one dictionary, on the held-out rows.
        ranked: for each concept one or more columns, best first.
        concepts: the concepts' names.
    """
    ranked = ranked.where(ranked.f1 > 0)
    frame = score_frame(scorer.score(columns, ranked))
    return frame.assign(
        concept=np.asarray(concepts, dtype=object)[ranked.label],
        rank=frame.groupby(ranked.label).cumcount().astype("int16"),
        feature=ranked.column.astype(np.int32),
        threshold=ranked.threshold,
        fit_f1=ranked.f1,
    )[list(DETECTOR_COLUMNS)]
