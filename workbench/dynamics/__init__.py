"""Subjects that go from state to state: what they hold at each step."""

from workbench.dynamics.states import (
    StatesReading,
    gate_saturation,
    has_recurrence,
    is_gate,
    most_varying,
    read_states,
)

__all__ = ["StatesReading", "gate_saturation", "has_recurrence", "is_gate", "most_varying", "read_states"]
