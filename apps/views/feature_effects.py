"""On a feature's own page: what taking it out does to the loss and to the next token; measured when it is asked for."""

import pandas as pd
import streamlit as st

from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.messages import plain
from apps.place import Place
from apps.shown import draw
from apps.text import number, signed
from apps.told import Told, run_of
from apps.words import words_of
from models.artifacts import ArtifactError
from workbench.features.columns import HEADS, kind_of
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.on_demand.ablation_effects import FEATURE, FIRES, LOSS, PROBABILITY, RANDOM, SILENT
from workbench.features.on_demand.ablation_effects_kept import keep_effects, kept_effects
from workbench.figures import ablation_effect


def show(here: Place, index: FeatureIndex, feature: int) -> None:
    """Draw it, or offer to measure it."""
    assert here.index is not None
    st.subheader("What taking it out does", anchor=False)
    if kind_of(index.config) == HEADS:
        st.caption(
            "How much a head writes has no direction that could be taken out: the Interventions page ablates heads."
        )
        return
    found = kept_effects(here.run, here.index, feature)
    if found is None:
        found = _measured(here, feature, words_of(index.config).one)
    if found is not None:
        _shown(here, found, feature, words_of(index.config).one)


def _measured(here: Place, feature: int, one: str) -> pd.DataFrame | None:
    assert here.index is not None
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        asked = st.button("Measure what it does", icon=":material/science:", key="measure_effects")
        st.caption(
            f"Runs the subject on the examples with the {one} and without it, and with as much taken out along random "
            "directions: some seconds. The result is kept."
        )
    if not asked:
        return None
    try:
        with st.spinner("Running the subject with it and without it …"):
            keep_effects(here.run, here.index, [feature])
        return kept_effects(here.run.refresh(), here.index, feature)
    except (ValueError, ArtifactError, OSError) as error:
        plain(ValueError(str(error)))
        return None


def _shown(here: Place, found: pd.DataFrame, feature: int, one: str) -> None:
    assert here.index is not None
    losses = found[found["measure"] == LOSS]
    if FIRES not in set(losses["where"]):
        most = float(losses["change"].abs().max())
        st.caption(
            f"It never fires on the recorded text: at {int(losses['n'].max()):,} places taken from all of it, the loss "
            f"changes by {number(most, 4)} nats without it."
        )
        return
    left, right = halves()
    with left:
        run = run_of(here.run.refresh())  # what was measured just now is in it
        effects = run.into(kept_effects, run.do("find", "features", here.index.name), feature).named("effects")
        said = f"Change of the loss where the {one} fires and where it does not, beside random directions"
        table = Told(losses.drop(columns="token"), "")
        draw(effects.into(ablation_effect), table, name=f"taking-out-{feature}", alt=said)
        st.caption(_sentence(losses))
    with right:
        _tokens(found[found["measure"] == PROBABILITY], one)


def _sentence(losses: pd.DataFrame) -> str:
    """The next token's loss in words, beside its control."""
    next_token = losses[losses["ahead"] == 1].set_index(["where", "variant"])
    own, control = next_token.loc[(FIRES, FEATURE)], next_token.loc[(FIRES, RANDOM)]
    words = (
        f"At {int(own['n']):,} of its examples, of all strengths, the next token's loss changes by "
        f"{signed(own['change'], 3)} ± {number(own['error'], 3)} nats without it "
        f"(with it, the loss is {number(own['before'])}); "
        f"as much along random directions, by {signed(control['change'], 3)} ± {number(control['error'], 3)}."
    )
    if (SILENT, FEATURE) in next_token.index:
        other = next_token.loc[(SILENT, FEATURE)]
        words += (
            f" At {int(other['n']):,} places of the same texts where it does not fire, by "
            f"{signed(other['change'], 3)}. "
            "± one standard error over places; it is taken out of the whole of each text, and nothing else is changed."
        )
    return words


def _tokens(told: pd.DataFrame, one: str) -> None:
    """The next tokens that rise and fall most without it."""
    if told.empty:
        st.caption("This subject's answers are no next tokens: there are none to list.")
        return
    own, control = (told[told["variant"] == variant].reset_index(drop=True) for variant in (FEATURE, RANDOM))
    own = own.assign(control=control["change"])
    strongest = float(own["change"].abs().max()) or 1.0
    columns = [
        Column("token", "token"),
        Column("with it", help="Its mean probability as the next token, in percent."),
        Column("change", "bar-number", f"Without the {one}, in percentage points."),
        Column("random", help="The change when as much is taken out along random directions, in percentage points."),
    ]
    for title, part, hue in (
        ("Rise without it", own[own["change"] > 0].sort_values("change", ascending=False), ""),
        ("Fall without it", own[own["change"] < 0].sort_values("change"), "neurons"),
    ):
        rows = [
            [
                Cell(line["token"]),
                Cell(number(100 * line["before"])),
                Cell(signed(100 * line["change"]), bar=abs(line["change"]) / strongest, hue=hue),  # type: ignore[arg-type]
                Cell(signed(100 * line["control"])),
            ]
            for line in part.head(6).to_dict("records")
        ]
        link_table(columns, rows, key=f"effect_{title}", caption=f"{title} (probability of the next token, %)")
