"""Detection: how well each of many columns detects each of many labels, thresholds and choices made on rows apart."""

from probes.detection.columns import Columns, DenseColumns, Ladder, SparseColumns
from probes.detection.detect import Detection, HeldOut, conjunctions, detect, with_pairs
from probes.detection.identity import f1_of_values
from probes.detection.labels import Choice, LabelCounts, PairChoice, best_pairs, count_labels, count_together
from probes.detection.ranks import auroc
from probes.detection.scores import MIN_LIFT, Confusion, bootstrap_f1_gain, confusion, f1_from_counts, f1_interval
from probes.detection.sets import SetChoice, best_column_for_sets, best_sets

__all__ = [
    "MIN_LIFT",
    "Choice",
    "Columns",
    "Confusion",
    "DenseColumns",
    "Detection",
    "HeldOut",
    "LabelCounts",
    "Ladder",
    "PairChoice",
    "SetChoice",
    "SparseColumns",
    "auroc",
    "best_column_for_sets",
    "best_pairs",
    "best_sets",
    "bootstrap_f1_gain",
    "confusion",
    "conjunctions",
    "count_labels",
    "count_together",
    "detect",
    "f1_from_counts",
    "f1_interval",
    "f1_of_values",
    "with_pairs",
]
