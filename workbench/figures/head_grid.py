"""One number of every head, layer by head, the control's beside it on the same scale of colours."""

import altair as alt
import pandas as pd

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
        heads: `layer`, `head` and both columns; one line a head.
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
    places = {"row": heads["layer"].astype(int).astype(str), "column": heads["head"].astype(int).astype(str)}
    dots = {"marked": heads[marked]} if marked else {}
    cells = [
        pd.DataFrame({"panel": name, "value": heads[column].astype(float)} | places | dots)
        for name, column in zip(names, (value, control), strict=True)
    ]
    count = {axis: sorted({int(number) for number in numbers}) for axis, numbers in places.items()}
    return panels(
        pd.concat(cells, ignore_index=True),
        rows=[str(layer) for layer in reversed(count["row"])],  # the last layer on top, as a stack is drawn
        columns=[str(head) for head in count["column"]],
        stack="beside",
        title=title,
        signed=signed,
        row_title="layer",
        column_title="head",
        step=22,
        tooltip=[alt.Tooltip("marked:N")] if marked else [],
    )
