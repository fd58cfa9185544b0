"""What verbs offer whose own modules load torch, which help and parsing do without; a test holds them equal."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.interventions.stand_ins import Ablation

ABLATIONS: "tuple[Ablation, ...]" = ("zero", "mean", "position mean", "resample")
PAIR_KINDS = ("bracket", "quote", "name", "keyword")
METHODS = ("patching", "attribution", "ablation", "rotation")
SWAPPED_AT = ("last", "differ")
PARTS = ("position", "head", "unit")
SEARCHES = ("attribution", "acdc")
