"""Which rotary frequencies heads use, beside random heads."""

import altair as alt
import pandas as pd

from workbench.figures.hook_names import head_names
from workbench.figures.palette import Layers, require_columns
from workbench.figures.panels import panels

MOST = 48  # heads
RANDOM_ROW, STILL = "random", "not turned"


def rotary_frequencies(shares: pd.DataFrame) -> Layers:
    """Heads × rotated pairs, fast turns on the left: shares of W_Q W_Kᵀ; the last row is random heads' mean.

    A dot: above the 99th percentile of random heads. Of very many heads those that differ most from random ones.

    Args:
        shares: as `workbench.attention.rotary_frequencies` makes it: `layer`, `head`, `pair` (NA: not rotated),
            `wavelength`, `value`, `random_mean`, `random_high`.

    Raises:
        ValueError: a column is missing.
    """
    columns = ["layer", "head", "pair", "wavelength", "value", "random_mean", "random_high"]
    require_columns(shares, columns, "rotary_frequencies")
    turns = shares["wavelength"].map("{:.3g}".format).mask(shares["pair"].isna(), STILL)
    table = shares.assign(name=head_names(shares), turn=turns)
    order = table.drop_duplicates("turn").sort_values("wavelength", na_position="last")["turn"].tolist()
    far = (table["value"] - table["random_mean"]).abs().groupby(table["name"]).max().nlargest(MOST).index
    kept = table[table["name"].isin(far)]
    own = pd.DataFrame(
        {
            "row": kept["name"],
            "column": kept["turn"],
            "value": kept["value"],
            "random": kept["random_mean"],
            "marked": kept["value"] > kept["random_high"],
        }
    )
    one = table.drop_duplicates("turn")
    control = pd.DataFrame(
        {"row": RANDOM_ROW, "column": one["turn"], "value": one["random_mean"], "random": one["random_mean"]}
    ).assign(marked=False)
    return panels(
        pd.concat([own, control], ignore_index=True).assign(panel="share of the head's scores"),
        rows=[*kept["name"].unique(), RANDOM_ROW],
        columns=order,
        stack="beside",
        title="share of W_Q W_Kᵀ (dot: above random's 99th percentile)",
        signed=False,
        row_title="head",
        column_title="positions a turn",
        tooltip=[alt.Tooltip("random:Q", format=".3f", title="random heads' mean")],
        step=20,
    )
