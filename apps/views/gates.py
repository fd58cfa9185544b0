"""How open a subject's gates are, beside the untrained subject's: a part of the dynamics page."""

import pandas as pd
import streamlit as st

from apps.choices import select
from apps.components.link_table import Cell, Column, Hue, link_table
from apps.layout import halves
from apps.shown import draw
from apps.told import Told
from workbench.dynamics import Dynamics
from workbench.figures import gate_saturation
from workbench.figures.gate_saturation import gates_of
from workbench.figures.slices import rows as rows_of

_MOSTLY = 0.9  # of the steps
_VARIANTS = ("trained", "untrained")


def show(kept: Told) -> None:
    """Draw the part."""
    dynamics: Dynamics = kept.value
    st.subheader("How often gates are shut, and how often open", anchor=False)
    if dynamics.gates is None:
        st.caption("This subject has no gates.")
        return
    layers = list(dict.fromkeys(hook.rpartition(".")[0] for hook in dynamics.gates["hook"]))
    layer = select("Layer", layers, layers[0], "gates") if len(layers) > 1 else layers[0]
    told_own = kept.at("gates").into(gates_of, layer)
    own = told_own.value
    everywhere = own[own["label"] == "all"]
    left, right = halves()
    with left:
        drawn = told_own.into(rows_of, label="all", variant="trained")
        words = f"Units of {layer}: how often each gate is shut against how often it is open"
        draw(drawn.into(gate_saturation), drawn, name="gates", alt=words)
    with right:
        _shares(everywhere)
        st.caption(f"Each point is a unit of {layer} over {everywhere['n'].max():,} held-out steps.")
        _by_label(own)


def _shares(everywhere: pd.DataFrame) -> None:
    columns = [
        Column("gate", "text"),
        Column("of", "word"),
        Column("mean"),
        Column("shut", "bar-number", "Units that are below 0.1 at nine steps of ten or more."),
        Column("open", "bar-number", "Units that are above 0.9 at nine steps of ten or more."),
    ]
    rows = []
    for gate, group in everywhere.groupby("gate", sort=False):
        for variant in _VARIANTS:
            units = group[group["variant"] == variant]
            if len(units):
                hue: Hue = "" if variant == "trained" else "muted"
                shares = [(units[side] >= _MOSTLY).mean() for side in ("left", "right")]
                cells = [Cell(f"{share:.0%}", bar=share, hue=hue) for share in shares]
                rows.append([Cell(str(gate)), Cell(variant), Cell(f"{units['mean'].mean():.2f}"), *cells])
    link_table(columns, rows, key="gate_shares", caption="Units that are nearly always")


def _by_label(own: pd.DataFrame) -> None:
    """The mean gate where each value of a label holds."""
    told = own[(own["label"] != "all") & (own["variant"] == "trained")]
    if told.empty:
        return
    wide = told.pivot_table(index=["label", "value"], columns="gate", values="mean", sort=False)
    columns = [Column("where", "text"), *(Column(str(gate)) for gate in wide)]
    rows = [
        [Cell(f"{label} = {value}"), *(Cell(f"{mean:.2f}") for mean in means)]
        for (label, value), means in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    link_table(columns, rows, key="gates_by_label", caption="Mean of the units' gates", height=240)
