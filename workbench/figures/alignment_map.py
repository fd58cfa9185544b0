"""What a decoder looks at in the source as it says each token, beside the same before training."""

from collections.abc import Sequence

import pandas as pd

from workbench.figures.palette import Layers, require_columns
from workbench.figures.panels import panels
from workbench.figures.words import position_labels


def alignment_map(alignments: pd.DataFrame, target: Sequence[str], source: Sequence[str]) -> Layers:
    """Target × source positions of one sequence and head; a dot where the right place is known to be.

    Args:
        alignments: `target` and `source` (positions), `weight` and `variant` (`trained`, then its control), and `right`
            where the true alignment is known.
        target: the words that the decoder reads.
        source: the words that the encoder reads.

    Raises:
        ValueError: a column is missing, or a place has two lines.
    """
    require_columns(alignments, ["target", "source", "weight", "variant"], "alignment_map")
    down, across = position_labels(target), position_labels(source)
    cells = pd.DataFrame(
        {
            "panel": alignments["variant"],
            "row": [down[int(i)] for i in alignments["target"]],
            "column": [across[int(i)] for i in alignments["source"]],
            "value": alignments["weight"],
        }
    )
    if "right" in alignments:
        cells["marked"] = alignments["right"].astype(bool)
    return panels(
        cells,
        rows=down,
        columns=across,
        stack="beside",
        title="attention",
        signed=False,
        largest=1.0,
        row_title="target",
        column_title="source",
    )
