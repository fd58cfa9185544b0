"""`Columns`: what an index can be made of besides a trained dictionary, and the kinds there are."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.activations import ActivationStore
from workbench.features.columns.head_norms import HeadNorms
from workbench.sae import SAE

LATENTS, UNITS, HEADS, PROBES = "latents", "units", "heads", "probes"
ONE = {LATENTS: "feature", UNITS: "unit", HEADS: "head", PROBES: "direction"}  # what one of them is called
# Thresholds, means and controls are fitted on at most as many training rows.
SAMPLE_ROWS = 65_536

Dictionary = SAE | HeadNorms


@dataclass(frozen=True)
class Columns:
    """What an index has a column of for each unit and side, head or probe.

    Attributes:
        kind: `units`, `heads` or `probes`.
        dictionary: what reads rows: a column fires where its value is above its threshold.
        titles: what each column is called.
        about: what a value is, and where a column fires, in one plain sentence.
        controls: PCA and random directions of the same rows, each firing as often as the columns do.
        tensors: from which `stored.read_dictionary` makes the dictionary again.
        settings: what they were made with, for the manifest.
    """

    kind: str
    dictionary: Dictionary
    titles: list[str]
    about: str
    controls: dict[str, SAE]
    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


def one_of(config: dict[str, Any]) -> str:
    """What one column of an index is called, by its manifest's config; one of a kind not known is a feature."""
    return ONE.get(kind_of(config), ONE[LATENTS])


def kind_of(config: dict[str, Any]) -> str:
    """What the columns of an index are, by its manifest's config."""
    return str(config.get("columns", LATENTS))


def training_rows(store: ActivationStore, hook: str, most: int = SAMPLE_ROWS) -> Float[Tensor, "n d"]:
    """Rows of the training documents, evenly spread over them.

    Raises `ValueError` where the hook was not recorded, or no training document was.
    """
    store = store.on(store.axis_of(hook))
    rows = store.rows_of("train")
    if not len(rows):
        raise ValueError("the recording has no train documents: thresholds are fitted on them.")
    return store.read(hook, np.asarray(rows[:: -(-len(rows) // most)]))
