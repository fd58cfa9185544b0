"""Which heads read what earlier heads write: composition of every pair, beside random matrices."""

import altair as alt
import pandas as pd

from workbench.figures.hook_names import head_names
from workbench.figures.palette import Layers, require_columns
from workbench.figures.panels import panels

_FAR = 99.0  # percentile of random matrices from which on a pair has a dot


def composition_map(composition: pd.DataFrame) -> Layers:
    """Later heads × earlier heads, for each kind (Q, K, V): composition above the mean of random matrices.

    Pairs above the 99th percentile of random matrices of the same shapes have a dot.

    Args:
        composition: as `workbench.attention.composition_scores` makes it: `kind`, `from_layer`, `from_head`,
            `to_layer`, `to_head`, `value`, `random_mean`, `percentile` (0 to 100).

    Raises:
        ValueError: a column is missing.
    """
    needed = ["kind", "from_layer", "from_head", "to_layer", "to_head", "value", "random_mean", "percentile"]
    require_columns(composition, needed, "composition_map")
    table = composition.sort_values(["from_layer", "from_head", "to_layer", "to_head"], kind="stable")
    cells = pd.DataFrame(
        {
            "panel": table["kind"].map(lambda kind: f"{kind}-composition"),
            "row": head_names(table, "to_layer", "to_head"),
            "column": head_names(table, "from_layer", "from_head"),
            "value": table["value"] - table["random_mean"],
            "composition": table["value"],
            "percentile": table["percentile"],
            "marked": table["percentile"] > _FAR,
        }
    )
    kinds = {kind: place for place, kind in enumerate(("Q", "K", "V"))}
    cells = cells.sort_values("panel", key=lambda of: of.str[0].map(kinds), kind="stable")
    rows = table.assign(name=head_names(table, "to_layer", "to_head")).sort_values(["to_layer", "to_head"])
    return panels(
        cells,
        rows=rows["name"].unique().tolist()[::-1],
        columns=head_names(table, "from_layer", "from_head").unique().tolist(),
        stack="beside",
        title="above random matrices (dot: 99th percentile)",
        signed=True,
        row_title="to head",
        column_title="from head",
        tooltip=[alt.Tooltip("composition:Q", format=".3f"), alt.Tooltip("percentile:Q", format=".1f")],
        step=18,
    )
