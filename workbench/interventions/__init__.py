"""Interventions: activations edited along directions while a subject runs, and what an edit is held against."""

from workbench.interventions.controls import along_random, random_subspace
from workbench.interventions.edits import Edit, add, erase, project_out, set_to, swap
from workbench.interventions.hooks import edit_at
from workbench.interventions.subspace import Subspace

__all__ = [
    "Edit",
    "Subspace",
    "add",
    "along_random",
    "edit_at",
    "erase",
    "project_out",
    "random_subspace",
    "set_to",
    "swap",
]
