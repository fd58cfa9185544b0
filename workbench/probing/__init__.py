"""Probes over recordings: every hook, label and estimator in one sweep, and what an edit along a probe does."""

from workbench.probing.cause import cause_report
from workbench.probing.labels import probe_labels
from workbench.probing.results import best_beyond_word, in_layer_order, read_results
from workbench.probing.sweep import probe_sweep

__all__ = ["best_beyond_word", "cause_report", "in_layer_order", "probe_labels", "probe_sweep", "read_results"]
