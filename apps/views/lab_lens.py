"""The prompt lab's lens: what the subject's read-out would say of each layer at the locked token."""

from typing import Any

import pandas as pd
import streamlit as st

from apps import serve_lab
from apps.choices import analyses
from apps.components.link_table import Cell, Column, link_table
from apps.messages import plain
from apps.shown import figure, opening
from apps.text import escape_markdown, number, percent, visible
from apps.views.lab_text import Lab
from workbench.features.reading.layers import answer_by_layer, stream_hooks
from workbench.figures import lens_by_layer
from workbench.figures.hook_names import short_hooks
from workbench.interventions.lens_rows import ROTATED
from workbench.runs import Artifact

_WORDS = 3  # of each layer that are shown


def show(lab: Lab) -> None:
    """Draw the pane."""
    if not stream_hooks(lab.subject) or not lab.reading.predictions[lab.token]:
        return
    with st.expander("Lens by layer", key="pane_lens", on_change="rerun", bind="query-params") as pane:
        if pane.open:
            _layers(lab)


def _layers(lab: Lab) -> None:
    fitted = _fitted(lab)
    lens = serve_lab.tuned_lens(fitted) if fitted else None
    try:
        key = f"{lab.here.run.find('model').id} {fitted.id if fitted else ''} {lab.text}"
        table = serve_lab.layers(lab.subject, lab.reading, lab.token, lens, key)
    except ValueError as error:
        plain(error)
        return
    answer = visible(table["answer"].iloc[0])
    which = "the token that comes next" if lab.token + 1 < len(lab.reading.tokens) else "the likeliest in the end"
    tuned = "" if lens is None else f" The tuned lens is that of {fitted.name if fitted else ''}."
    st.caption(f"The answer is {escape_markdown(f'“{answer}”')}, {which}.{escape_markdown(tuned)}")
    columns = [
        Column("layer", "word"),
        *(Column("it would say" if place == 0 else "", "code") for place in range(_WORDS)),
        Column("rank", help="Of the answer: 1 is the likeliest."),
        Column("probability", "bar-number", "Of the answer."),
        Column("rotated", help="The answer's rank where the layer's state is turned by random rotations: the median."),
    ]
    link_table(columns, _rows(table), key="layers_here")
    _drawn(lab, table, fitted)


def _drawn(lab: Lab, table: pd.DataFrame, fitted: Artifact | None) -> None:
    """The answer's probability from layer to layer."""
    if len(set(table["hook"])) == 1:  # one layer makes no line
        return
    code = opening(lab.here.run) + (
        "from workbench.features import read_prompt\n"
        "from workbench.features.reading.layers import answer_by_layer, layers_at, stream_hooks\n"
        "from workbench.figures import lens_by_layer\n"
        + ("from workbench.interventions import TunedLens\n" if fitted else "")
        + "from workbench.features.reading.units import unit_hooks\n"
        "\nmodel = run.model()\n"
        # Which steps a recurrence takes goes with the hooks, to the last digit.
        "hooks = [*unit_hooks(model), *stream_hooks(model)]\n"
        f"reading = read_prompt(model, None, {lab.text!r}, hooks=hooks)\n"
        + (f"lens = TunedLens.load({str(fitted.path)!r})\n" if fitted else "lens = None\n")
        + f"drawn = answer_by_layer(layers_at(model, reading, {lab.token}, lens=lens))\n"
        'chart = lens_by_layer(drawn, "probability", "the answer\'s probability")'
    )
    drawn = answer_by_layer(table)
    figure(lens_by_layer(drawn, "probability", "the answer's probability"), drawn, name="lens-by-layer", python=code)


def _fitted(lab: Lab) -> Artifact | None:
    """The newest reading of layers with a tuned lens that has not gone stale."""
    found = [a for a in analyses(lab.here.run, "lens").values() if a.manifest.config.get("tuned") and not a.stale]
    return max(found, key=lambda artifact: artifact.manifest.made.get("time", ""), default=None)


def _rows(table: pd.DataFrame) -> list[list[Cell]]:
    """A row a layer and lens, with what the rotated layer gives beside it."""
    short = short_hooks(table["hook"].unique().tolist())
    several = table["variant"].nunique() > 2
    rotated = table[(table["variant"] == ROTATED) & (table["place"] == 1)].groupby("hook")["rank"].median()
    rows = []
    for (hook, variant), own in table[table["variant"] != ROTATED].groupby(["hook", "variant"], sort=False):
        first: Any = own.iloc[0]
        words = [f"{visible(w)} {percent(p)}" for w, p in zip(own["text"], own["probability"], strict=True)][:_WORDS]
        rows.append(
            [
                Cell(short[hook] + (f" · {variant}" if several else "")),
                *(Cell(word) for word in [*words, *[""] * (_WORDS - len(words))]),
                Cell(f"{int(first['rank']):,}"),
                Cell(percent(first["answer_probability"]), bar=first["answer_probability"]),
                Cell(number(rotated[hook], 0)),
            ]
        )
    return rows
