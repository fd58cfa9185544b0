"""Units that track a label: a table that leads to each unit, coloured over a text in which the label holds."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from apps import place, serve, serve_results
from apps.choices import analyses
from apps.components.link_table import Cell, Column, link_table, opened
from apps.place import Place
from apps.prompt_box import put_text
from apps.text import escape_markdown, number, shell
from models.dataset import Dataset
from workbench.dynamics import read_dynamics, read_labels, told_apart

_TABLE = "tracking_units"
_HEIGHT = 300
_PASSAGE = 96  # tokens of a text in which a label holds
_MEASURES = {"auroc": "AUROC", "spearman": "Spearman's r"}


def show(here: Place, unit: tuple[int, str, int]) -> None:
    """Draw the table; `unit` is the layer, the value and the unit that the page is about."""
    found = analyses(here.run, "dynamics")
    with st.expander("Units that track a label", icon=":material/target:", expanded=True, key="tracking"):
        if not found:
            st.caption("No units were held against labels in this run. This does it, beside their controls:")
            st.code(f"workbench dynamics --run {shell(here.run.path)}", language="shell")
            return
        newest = max(found.values(), key=lambda artifact: artifact.manifest.made.get("time", ""))
        units = serve_results.opened(newest, read_dynamics).units
        if units is None:
            st.caption("No units were held against labels: the data has none, or they were left out.")
            return
        _table(here, units, dict(zip(("layer", "value", "unit"), unit, strict=True)))


def _table(here: Place, units: pd.DataFrame, looked_at: dict[str, Any]) -> None:
    chosen = units[units["chosen"]]
    own = chosen[chosen["variant"] == "trained"]
    before = chosen[chosen["variant"] == "untrained"].set_index("label")["held_out"]
    beyond = [_beyond(line) for line in own.to_dict("records")]
    own = own.iloc[np.argsort(-np.array(beyond), kind="stable")]
    asked = st.text_input(
        "Labels that have these words", key="tracks", bind="query-params", placeholder="string", width=320
    )
    shown = own[[asked.strip().casefold() in str(label).casefold() for label in own["label"]]] if asked else own
    columns = [
        Column("label", "text", "A click shows a held-out text in which it holds, coloured by the unit."),
        Column("unit"),
        Column("score", "word"),
        Column(
            "held out",
            "bar-number",
            "On documents on which it was not chosen. Below chance it falls as the label rises.",
        ),
        Column("labels moved", help="The control: the mean of the best units for labels moved along their documents."),
        Column("untrained", help="The best unit of the subject before its training."),
        Column("F1", help="Of a threshold that was set where the unit was chosen."),
        Column("", "word"),
    ]
    lines = shown.to_dict("records")
    targets = [_target(line) for line in lines]
    rows = [
        [
            Cell(str(line["label"]), href=here.href(place.STATES, **target)),
            Cell(f"{line['unit']}", href=here.href(place.STATES, **target)),
            Cell(_MEASURES.get(line["measure"], str(line["measure"]))),
            Cell(
                number(line["held_out"], 3),
                bar=_beyond(line),
                hue="" if line["held_out"] >= _chance(line) else "neurons",
            ),
            Cell(number(line["shuffled"], 3)),
            Cell(number(before.get(line["label"]), 3)),
            Cell(number(line["f1"])),
            Cell("shown" if target == looked_at else ""),
        ]
        for line, target in zip(lines, targets, strict=True)
    ]
    st.caption(
        f"For each of {len(own):,} labels the unit of {escape_markdown(', '.join(own['hook'].unique()))} that tells it "
        f"best{f'; shows the {len(rows):,} with these words' if asked else ''}."
    )
    link_table(
        columns,
        rows,
        key=_TABLE,
        ids=list(range(len(rows))),
        on_open=lambda: _follow(here, targets[(row := opened(_TABLE)[0])], str(lines[row]["label"])),
        height=_HEIGHT,
    )


def _target(line: dict[str, Any]) -> dict[str, Any]:
    """Where a line leads: its unit, at its hook."""
    _, layer, cell, value = str(line["hook"]).split(".")
    value = value.removeprefix("hook_") + ("_backward" if cell == "rnn_reverse" else "")
    return {"layer": int(layer), "value": value, "unit": int(line["unit"])}


def _chance(line: dict[str, Any]) -> float:
    return 0.5 if line["measure"] == "auroc" else 0.0


def _beyond(line: dict[str, Any]) -> float:
    return abs(line["held_out"] - _chance(line)) / (1 - _chance(line))


def _follow(here: Place, target: dict[str, Any], label: str) -> None:
    for name in ("layer", "value"):
        st.session_state[name] = target[name]
    place.put("unit", target["unit"])
    passage = _passage(here.run.find("dataset").id, label, serve.dataset(here.run))
    if passage:
        put_text(passage)


@st.cache_data(max_entries=64, show_spinner=False)
def _passage(dataset_id: str, label: str, _data: Dataset) -> str | None:
    """A held-out passage in which a label holds, and does not hold, at as many tokens as may be."""
    if _data.labels is None or _data.tokenizer is None:
        return None
    lengths = _data.mask.sum(1).numpy()
    first = np.concatenate([[0], lengths.cumsum()[:-1]])
    held_out = _data.sequences("test").numpy()
    held_out = (held_out if len(held_out) else _data.sequences().numpy())[:400]
    shortest = min(_PASSAGE, int(lengths[held_out].max(initial=0)) - 1) // 2
    best, least = None, 1.0
    for sequence in held_out.tolist():
        stop = first[sequence] + min(lengths[sequence], 1 + _PASSAGE)
        rows = np.arange(first[sequence] + 1, stop)
        if len(rows) < shortest:
            continue
        values = told_apart(read_labels(_data.labels, rows, [label.split("=")[0]])).get(label)
        if values is None:
            continue
        # Of a truth as much as of its opposite; of a number all that it can be.
        apart = abs(float(values.mean()) - 0.5) if values.dtype == bool else 1 / (1 + float(np.nanstd(values)))
        if apart < least:
            best, least = sequence, apart
    if best is None:
        return None
    ids = _data.tokens[best][1 : 1 + _PASSAGE]
    ids = ids[_data.mask[best][1 : 1 + _PASSAGE]]
    return _data.tokenizer.decode(ids.tolist(), skip_special_tokens=False)
