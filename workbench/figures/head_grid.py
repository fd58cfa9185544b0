"""One number of every head, layer by head, the control's beside it on the same scale of colours."""

import altair as alt
import pandas as pd

from workbench.figures.hook_names import layer_names
from workbench.figures.palette import Layers, require_columns
from workbench.figures.panels import panels


def head_grid(
    heads: pd.DataFrame,
    *,
    value: str = "value",
    control: str = "control",
    title: str = "score",
    names: tuple[str, str] = ("trained", "control"),
    signed: bool = False,
    marked: str | None = None,
) -> Layers:
    """Layers × heads of the subject, and beside them the control's.

    Args:
        heads: `layer` (and `hook`, where there are several attentions), `head` and both columns, the first layer first;
            one line a head.
        value: the column that is drawn.
        control: the column that stands beside it.
        title: what the numbers are.
        names: of the two panels.
        signed: whether numbers below zero mean the opposite of those above.
        marked: a Boolean column; heads of which it holds have a dot.

    Raises:
        ValueError: a column is missing, or a head has two lines.
    """
    require_columns(heads, ["layer", "head", value, control, *([marked] if marked else [])], "head_grid")
    places = {"row": layer_names(heads), "column": heads["head"].astype(int).astype(str)}
    dots = {"marked": heads[marked]} if marked else {}
    cells = [
        pd.DataFrame({"panel": name, "value": heads[column].astype(float)} | places | dots)
        for name, column in zip(names, (value, control), strict=True)
    ]
    return panels(
        pd.concat(cells, ignore_index=True),
        rows=places["row"].unique().tolist()[::-1],  # the last layer on top, as a stack is drawn
        columns=sorted(set(places["column"]), key=int),
        stack="beside",
        title=title,
        signed=signed,
        row_title="layer",
        column_title="head",
        step=22,
        tooltip=[alt.Tooltip("marked:N")] if marked else [],
    )
