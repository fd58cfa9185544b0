"""Units that tell a label, beside chance and the untrained subject, and what it costs to hold them still."""

import pandas as pd
import streamlit as st

from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.shown import draw
from apps.text import escape_markdown, number, p_value, signed
from apps.told import Told
from workbench.dynamics import Dynamics
from workbench.figures import unit_ablation, unit_scores
from workbench.figures.slices import rows as rows_of

_MEASURES = {"auroc": "AUROC", "spearman": "Spearman's r"}
_HEIGHT = 420  # of the table, before it scrolls


def show(kept: Told) -> None:
    """Draw the part of the dynamics page that is about single units."""
    dynamics: Dynamics = kept.value
    st.subheader("Units that tell a label", anchor=False)
    if dynamics.units is None:
        st.caption("No units were held against labels: the data has none, or they were left out.")
        return
    told_chosen = kept.at("units").into(rows_of, chosen=True)
    chosen = told_chosen.value
    own = chosen[chosen["variant"] == "trained"]
    hook = ", ".join(own["hook"].unique())
    st.caption(
        f"For each label the best unit of {escape_markdown(hook)}, chosen on some documents and judged on others; "
        "beside it the best unit for labels moved along in time, and the untrained subject's."
    )
    left, right = halves()
    with left:
        words = "How well the best unit of each label tells it, beside labels moved in time and the untrained subject"
        draw(told_chosen.into(unit_scores), told_chosen, name="units", alt=words)
    with right:
        _table(own, chosen[chosen["variant"] == "untrained"])
    _ablation(kept, own)


def _table(own: pd.DataFrame, before: pd.DataFrame) -> None:
    columns = [
        Column("label", "text"),
        Column("measure", "word"),
        Column("unit"),
        Column("held out", help="Below chance the unit falls as the label rises."),
        Column("labels moved", help="The mean of the best units for labels moved along within their documents."),
        Column("p", help="How often a moved label is told as well."),
        Column("F1", help="Of a threshold that was set where the unit was chosen."),
        Column("untrained", help="The untrained subject's best unit."),
    ]
    early = before.set_index("label")["held_out"]
    rows = [
        [
            Cell(str(row["label"])),
            Cell(_MEASURES.get(row["measure"], str(row["measure"]))),
            Cell(f"{row['unit']}"),
            Cell(number(row["held_out"], 3)),
            Cell(number(row["shuffled"], 3)),
            Cell(p_value(row["p_value"])),
            Cell(number(row["f1"], 2)),
            Cell(number(early.get(row["label"]), 3)),
        ]
        for row in own.to_dict("records")
    ]
    link_table(columns, rows, key="cell_table", height=_HEIGHT)


def _ablation(kept: Told, own: pd.DataFrame) -> None:
    if kept.value.ablation is None:
        return
    st.subheader("What it costs to hold them still", anchor=False)
    table = kept.value.ablation
    clamped = set(table.loc[table["variant"] == "unit", "unit"])
    known = own[own["label"].isin(set(table["label"])) & own["unit"].isin(clamped)]
    units = {str(label): int(unit) for label, unit in zip(known["label"], known["unit"], strict=True)}
    left, right = halves()
    with left:
        drawn, words = (
            kept.at("ablation"),
            "By how much the loss rises as each label's unit is held still, beside random ones",
        )
        draw(drawn.into(unit_ablation, units), drawn, name="ablation", alt=words)
    with right:
        _costs(table, units)
        st.caption("How much the loss rises when a unit is clamped to its mean; grey: units drawn at random.")


def _costs(table: pd.DataFrame, units: dict[str, int]) -> None:
    columns = [
        Column("label", "text"),
        Column("unit"),
        Column("where it holds"),
        Column("elsewhere"),
        Column("random, where it holds", help="The mean of units drawn at random."),
    ]
    rows = []
    for label, unit in units.items():
        of = table[table["label"] == label]
        mine = of[(of["variant"] == "unit") & (of["unit"] == unit)]
        rises = [float(mine[name].mean()) for name in ("rise_on", "rise_off")]
        rises.append(float(of.loc[of["variant"] == "random unit", "rise_on"].mean()))
        rows.append([Cell(label), Cell(f"{unit}"), *(Cell(signed(rise, 4)) for rise in rises)])
    link_table(columns, rows, key="ablation_table")
