"""Probes over recordings: every hook, label and estimator in one sweep, each beside its controls."""

from workbench.probing.labels import probe_labels
from workbench.probing.layers import layer_hooks
from workbench.probing.sweep import probe_sweep

__all__ = ["layer_hooks", "probe_labels", "probe_sweep"]
