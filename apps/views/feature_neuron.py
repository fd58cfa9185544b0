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
from apps.shown import figure, opening
from apps.text import escape_markdown, number
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
    label = f"Feature against neuron {row['neuron']}"
    with st.expander(label, icon=":material/compare_arrows:", on_change="rerun", key="neuron_open") as panel:
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
    held_out = "For the feature's concept, on documents that took no part in choosing it."
    facts(
        [
            Fact("Feature's F1", number(row["f1"]), help=held_out, hue="trained"),
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
        rows = rows_of_both(index, store, feature, neuron)
        python = (
            f"{opening(here.run)}"
            "from workbench.activations import ActivationStore\n"
            "from workbench.features import FeatureIndex\n"
            "from workbench.features.comparing.neuron_values import rows_of_both\n"
            "from workbench.figures import feature_against_neuron\n\n"
            f"index = FeatureIndex.open(run.find('features', {index.path.name!r}).path)\n"
            f"store = ActivationStore.open(run.find('activations', {store.path.name!r}).path)\n"
            f"chart = feature_against_neuron(rows_of_both(index, store, {feature}, {neuron}))\n"
        )
        figure(feature_against_neuron(rows), rows, name=f"feature-{feature}-neuron-{neuron}", python=python)
        fires = int(rows["fires"].sum())
        st.caption(
            f"Shows {len(rows):,} of {index.n_rows:,} recorded rows: {fires:,} of the {int(row['firings']):,} where "
            f"the feature fires, and as they come {len(rows) - fires:,} where it does not."
        )
    with right:
        examples = serve.examples(index, feature, "top")[:_EXAMPLES]
        values = [sign * _neuron(store, index.hook_name, example, neuron) for example in examples]
        st.caption(
            "Its strongest examples: the feature above, the neuron below; each coloured up to its own largest value."
        )
        for kind, of_it, scale in (
            ("feature", [np.asarray(e.values) for e in examples], float(row["max"])),
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
                hue="activation" if kind == "feature" else "loss",
            )


def _neuron(store: ActivationStore, hook: str, example: Example, neuron: int) -> np.ndarray:
    first = example.row - example.focus
    return store.read(hook, np.arange(first, first + len(example.tokens)))[:, neuron].numpy()
