"""Probes over recordings, each number beside its controls: what can be read where, and whether the subject reads it."""

from workbench.probing.cause import cause_report
from workbench.probing.labels import probe_labels
from workbench.probing.layers import layer_hooks
from workbench.probing.results import best_beyond_word, in_layer_order, read_results
from workbench.probing.sweep import probe_sweep

__all__ = [
    "best_beyond_word",
    "cause_report",
    "in_layer_order",
    "layer_hooks",
    "probe_labels",
    "probe_sweep",
    "read_results",
]
