"""Probes over recordings: every hook, label and estimator in one sweep, each beside its controls."""

from workbench.probing.labels import probe_labels
from workbench.probing.sweep import probe_sweep

__all__ = ["probe_labels", "probe_sweep"]
