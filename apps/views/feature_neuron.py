"""On a feature's own page: it and the single neuron that detects its concept best, on the same rows."""

from typing import Any

import numpy as np
import streamlit as st

from apps import serve
from apps.components.facts import Fact, facts
from apps.components.token_strip import Strip, token_strip
from apps.layout import halves
from apps.place import Place
from apps.recordings import recording_of
from apps.shown import draw
from apps.text import escape_markdown, number
from apps.told import Told, call, read
from apps.words import words_of
from models.artifacts import ArtifactError
from workbench.activations import ActivationStore
from workbench.features.comparing.neuron_values import rows_of_both
from workbench.features.index.feature_index import Example, FeatureIndex, FeatureRecord
from workbench.figures import feature_against_neuron

_EXAMPLES = 3


def show(here: Place, index: FeatureIndex, record: FeatureRecord, feature: int) -> None:
    """Offer it, and draw it once it is opened."""
    row = record.row
    if row["neuron"] < 0:
        return
    label = f"{words_of(index.config).one.capitalize()} against neuron {row['neuron']}"
    with st.expander(
        label, icon=":material/compare_arrows:", on_change="rerun", key="neuron_open", bind="query-params"
    ) as panel:
        if not panel.open:
            return
        try:
            store = recording_of(here.run, index)
        except ArtifactError as error:
            st.caption(escape_markdown(str(error).replace("`", "")))
            return
        _both(here, index, store, row, feature)


def _both(here: Place, index: FeatureIndex, store: ActivationStore, row: dict[str, Any], feature: int) -> None:
    neuron, sign = int(row["neuron"]), int(row["neuron_sign"])
    one = words_of(index.config).one
    held_out = "For the concept that names it, on documents that took no part in choosing it."
    facts(
        [
            Fact(f"{one.capitalize()}'s F1", number(row["f1"]), help=held_out, hue="trained"),
            Fact(
                "Neuron's F1",
                number(row["neuron_f1"]),
                f"its {'negative' if sign < 0 else 'value'}",
                held_out,
                "neurons",
            ),
        ],
        key="neuron_facts",
    )
    left, right = halves()
    with left:
        told = _rows_told(here, index, store, feature, neuron)
        rows = told.value
        said = f"Values of the {one} against those of the neuron, a point a recorded row"
        draw(told.into(feature_against_neuron), told, name=f"feature-{feature}-neuron-{neuron}", alt=said)
        fires = int(rows["fires"].sum())
        st.caption(
            f"Shows {len(rows):,} of {index.n_rows:,} recorded rows: {fires:,} of the {int(row['firings']):,} where "
            f"the {one} fires, and as they come {len(rows) - fires:,} where it does not."
        )
    with right:
        examples = serve.examples(index, feature, "top")[:_EXAMPLES]
        values = [sign * _neuron(store, index.hook_name, example, neuron) for example in examples]
        st.caption(
            f"Its strongest examples: the {one} above, the neuron below; each coloured up to its own largest value."
        )
        for kind, of_it, scale in (
            (one, [np.asarray(e.values) for e in examples], float(row["max"])),
            ("neuron", values, max((float(v.max()) for v in values), default=1.0)),
        ):
            strips = [
                Strip(
                    e.tokens,
                    np.maximum(v, 0),
                    title=f"{kind} · {e.doc}",
                    badge=number(float(v[e.focus])),
                    focus=e.focus,
                )
                for e, v in zip(examples, of_it, strict=True)
            ]
            token_strip(
                strips,
                key=f"against_{kind}",
                label=kind,
                scale=scale,
                hue="activation" if kind == one else "loss",
            )


def _rows_told(here: Place, index: FeatureIndex, store: ActivationStore, feature: int, neuron: int) -> Told:
    assert here.index is not None
    kept = read(here.run, here.index, "index", FeatureIndex.open, index)
    recording = here.run.made_from(index, "activations")
    return call(
        rows_of_both, kept, read(here.run, recording, "store", ActivationStore.open, store), feature, neuron
    ).named("rows")


def _neuron(store: ActivationStore, hook: str, example: Example, neuron: int) -> np.ndarray:
    first = example.row - example.focus
    return store.read(hook, np.arange(first, first + len(example.tokens)))[:, neuron].numpy()
