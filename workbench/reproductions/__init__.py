"""Published results, re-made here: one file each, printing published | ours | bar.

A file gives `TITLE`, `PAPER` and `reproduce(bench) -> list[Row]`; `NAMES` says which there are.
"""

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
