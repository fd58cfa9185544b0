"""Tuning: what each neuron's rate says of a variable, and how well a population can tell it."""

from probes.tuning.curves import TuningCurves, tuning_curves

__all__ = ["TuningCurves", "tuning_curves"]
