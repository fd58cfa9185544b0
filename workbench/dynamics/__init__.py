"""Subjects that go from state to state: what they hold at each step, and where their dynamics lead."""

from workbench.dynamics.ablation import ablate_units
from workbench.dynamics.attractors import Curve, Labelled, line_attractor, ring_attractor
from workbench.dynamics.fixed_points import draw_starts, find_fixed_points
from workbench.dynamics.gates import gate_statistics, read_gates
from workbench.dynamics.manifolds import Manifolds, unstable_manifolds
from workbench.dynamics.perturbation import perturb
from workbench.dynamics.points import FixedPoints
from workbench.dynamics.portraits import portrait, portrait_with_points
from workbench.dynamics.results import Dynamics, read_dynamics
from workbench.dynamics.sensitivity import jacobian_products, state_path
from workbench.dynamics.spectra import Spectrum, frequencies, non_normality, spectrum, time_constants
from workbench.dynamics.states import (
    StatesReading,
    gate_saturation,
    has_recurrence,
    is_gate,
    most_varying,
    read_states,
    states_table,
)
from workbench.dynamics.step import StateMap, read_input, state_map
from workbench.dynamics.text_portrait import text_portrait
from workbench.dynamics.trajectories import PrincipalAxes, Trajectories, run_states, state_hooks
from workbench.dynamics.units import read_labels, told_apart, unit_scores

__all__ = [
    "Curve",
    "Dynamics",
    "FixedPoints",
    "Labelled",
    "Manifolds",
    "PrincipalAxes",
    "Spectrum",
    "StateMap",
    "StatesReading",
    "Trajectories",
    "ablate_units",
    "draw_starts",
    "find_fixed_points",
    "frequencies",
    "gate_saturation",
    "gate_statistics",
    "has_recurrence",
    "is_gate",
    "jacobian_products",
    "line_attractor",
    "most_varying",
    "non_normality",
    "perturb",
    "portrait",
    "portrait_with_points",
    "read_dynamics",
    "read_gates",
    "read_input",
    "read_labels",
    "read_states",
    "ring_attractor",
    "run_states",
    "spectrum",
    "state_hooks",
    "state_map",
    "state_path",
    "states_table",
    "text_portrait",
    "time_constants",
    "told_apart",
    "unit_scores",
    "unstable_manifolds",
]
