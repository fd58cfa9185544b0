"""Probes over recordings, each number beside its controls: what can be read where, and whether the subject reads it."""

from workbench.probing.cause import cause_report
from workbench.probing.labels import probe_labels
from workbench.probing.layers import layer_hooks
from workbench.probing.sweep import probe_sweep

__all__ = ["cause_report", "layer_hooks", "probe_labels", "probe_sweep"]
