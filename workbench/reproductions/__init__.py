"""Published results, re-made here: one file each, printing published | ours | bar.

A file gives `TITLE`, `PAPER` and `reproduce(bench) -> list[Row]`; `NAMES` says which there are. What they stand on is
imported when it is first used: who asks for the names does not wait for torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.reproductions.base import Bench, Row, reproduce

NAMES = (
    "grokking",
    "modular_circuit",
    "superposition",
    "induction_heads",
    "compiled_circuit",
    "induction_circuit",
    "flip_flop",
    "fixed_points",
    "line_attractor",
    "ring_attractor",
    "path_integration",
    "dyck_depth",
    "bracket_depth",
    "gradient_flow",
    "source_reversal",
    "alignment",
    "long_sentences",
    "planted_features",
    "sae_frontier",
    "monosemanticity",
    "dark_matter",
    "feature_splitting",
    "crosscoder_diffing",
    "control_tasks",
    "description_length",
    "syntax_by_layer",
    "structural_probe",
    "concept_erasure",
    "localisation",
    "bracket_heads",
    "nef_error_laws",
    "lif_rates",
    "neural_dynamics",
    "population_vector",
    "fisher_bound",
    "nonlinear_tuning",
)

__all__ = ["NAMES", "Bench", "Row", "reproduce"]


def __getattr__(name: str) -> Any:
    if name not in ("Bench", "Row", "reproduce"):
        raise AttributeError(f"module 'workbench.reproductions' has no attribute {name!r}")

    from workbench.reproductions import base

    return getattr(base, name)


def __dir__() -> list[str]:
    return __all__
