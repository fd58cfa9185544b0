"""What weights say: of one head its pairs of tokens, directions and partners; of the subject its positions."""

import pandas as pd
import streamlit as st

from apps.choices import segments
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.shown import draw
from apps.text import escape_markdown, number, percent, signed
from apps.told import Told, read
from workbench.experiments.heads_results import HeadSurvey, read_heads
from workbench.figures import (
    head_grid,
    position_spectrum,
    rotary_frequencies,
    singular_values,
    token_pairs,
    virtual_heads,
)
from workbench.figures.hook_names import head_names
from workbench.figures.slices import rows as rows_of
from workbench.figures.words import visible
from workbench.runs import Artifact, Run

_PARTNERS = 3  # of each kind
_HEIGHT = 420
_CIRCUITS = {"QK": "What it looks for: query → key", "OV": "What it says of what it looks at: token → logit"}
_ENDS = {"QK": ("query", "key"), "OV": ("read", "written")}


def show_head(run: Run, artifact: Artifact, survey: HeadSurvey, layer: int, head: int) -> None:
    """Draw what one head's weights say; nothing where the survey knows none."""
    kept = read(run, artifact, "survey", read_heads, survey)
    if survey.pairs is None and survey.singular is None:
        return
    st.subheader(f"What the weights of layer {layer}, head {head} say", anchor=False)
    _facts(survey, layer, head)
    for side, circuit in zip(halves(340), _CIRCUITS, strict=True):
        with side:
            _circuit(kept, layer, head, circuit)
    _directions(survey, layer, head)
    _partners(kept, layer, head)


def show_subject(run: Run, artifact: Artifact, survey: HeadSurvey) -> None:
    """Draw what the subject's positions are made of, and which heads look by position alone."""
    kept = read(run, artifact, "survey", read_heads, survey)
    if survey.spectrum is None and survey.profiles is None and survey.rotary is None:
        return
    st.subheader("Positions", anchor=False)
    left, right = halves(380)
    if survey.spectrum is not None:
        with left:
            st.markdown("**Waves of the learned positions**")
            spectrum, words = kept.at("spectrum"), "Power of the learned positions by frequency, beside random ones"
            draw(spectrum.into(position_spectrum), spectrum, name="position-spectrum", alt=words)
    if survey.rotary is not None:
        with left:
            st.markdown("**Rotations that heads use**")
            rotary, words = kept.at("rotary"), "Share of each head's queries and keys at each rotary frequency"
            draw(rotary.into(rotary_frequencies), rotary, name="rotary-frequencies", alt=words)
    if survey.profiles is not None:
        with right:
            _profiles(kept.at("profiles"))


def _facts(survey: HeadSurvey, layer: int, head: int) -> None:
    shown = []
    if survey.copying is not None:
        line = _of(survey.copying, layer, head).iloc[0]
        shown.append(
            Fact(
                "copying",
                signed(line["value"], 3),
                f"random's 99%: {number(line['random_high'], 3)}",
                "Σ Re λ / Σ |λ| of its W_E W_V W_O W_U: 1 where tokens raise themselves.",
                "trained" if line["value"] >= 0 else "neurons",
            )
        )
        if "copied" in line:
            shown.append(
                Fact(
                    "tokens copied",
                    percent(line["copied"]),
                    f"chance: {percent(line['chance'])}",
                    "Tokens whose own logit is among those that the head raises most.",
                )
            )
    if survey.profiles is not None:
        own = _of(survey.profiles, layer, head)
        line = own.loc[(own["value"] - own["random_mean"]).idxmax()]
        shown.append(
            Fact(
                f"by position alone, to {_where(line['to'])}",
                percent(line["value"]),
                f"random heads: {percent(line['random_mean'])}",
                "Of its attention, were every token the average one.",
            )
        )
    if survey.virtual is not None:
        pairs = survey.virtual[survey.virtual["to_layer"].notna()]
        own = pairs[_is_end(pairs, "from", layer, head) | _is_end(pairs, "to", layer, head)]
        shown.append(
            Fact(
                "paths through it and another",
                percent(own["share"].sum()),
                f"all alike: {percent(pairs['share'].sum() * len(own) / len(pairs))}",
                "Of the square of all paths through one head or two, from tokens to logits.",
            )
        )
    if shown:
        facts(shown, key="head_weights_facts")


def _circuit(survey: Told, layer: int, head: int, circuit: str) -> None:
    st.markdown(f"**{_CIRCUITS[circuit]}**")
    of = f"the {circuit} circuit of layer {layer}, head {head}"
    if survey.value.pairs is not None:
        own = survey.at("pairs").into(rows_of, layer=layer, head=head, circuit=circuit)
        words = f"The pairs of tokens that stand out most in {of}, beside random weights"
        draw(own.into(token_pairs), own, name=f"token-pairs-{circuit}", alt=words)
    if survey.value.singular is not None:
        own = survey.at("singular").into(rows_of, layer=layer, head=head, circuit=circuit)
        words = f"Singular values of {of}, largest first, beside random weights"
        draw(own.into(singular_values), own, name=f"singular-values-{circuit}", alt=words)


def _directions(survey: HeadSurvey, layer: int, head: int) -> None:
    """The tokens at both ends of each singular direction, its two signs in two lines."""
    if survey.directions is None:
        return
    st.markdown("**Its singular directions, told in tokens**")
    st.caption("The tokens farthest along each end, and how far the first lies; random: the 99% of random directions.")
    hint = "99th percentile of the largest component of a random direction."
    columns = [
        Column("direction", "word"),
        Column("σ"),
        Column("query, or what is read", "prose"),
        Column("farthest"),
        Column("random", help=hint),
        Column("key, or what is written", "prose"),
        Column("farthest"),
        Column("random", help=hint),
    ]
    rows = []
    own = _of(survey.directions, layer, head)
    for (circuit, direction, sign), lines in own.groupby(["circuit", "direction", "sign"], sort=False):
        cells = [Cell(f"{circuit} {direction} {sign}"), Cell(number(lines["singular_value"].iloc[0], 3))]
        for side in _ENDS[circuit]:
            end = lines[lines["side"] == side].sort_values("rank")
            words = "  ".join(visible(text) for text in end["text"])
            cells += [Cell(words), Cell(number(end["value"].max(), 2)), Cell(number(end["random_high"].iloc[0], 2))]
        rows.append(cells)
    link_table(columns, rows, key="directions", height=_HEIGHT)


def _partners(kept: Told, layer: int, head: int) -> None:
    """The heads that it reads or that read it, and what it makes with each."""
    survey: HeadSurvey = kept.value
    if survey.composition is None:
        return
    left, right = halves(380)
    with left:
        st.markdown("**Heads that it composes with most**")
        table = survey.composition
        own = table[_is_end(table, "from", layer, head) | _is_end(table, "to", layer, head)]
        best = own.sort_values("value", ascending=False).groupby("kind", sort=False).head(_PARTNERS)
        best = best.sort_values(["kind", "value"], ascending=[True, False])
        names = head_names(best, "from_layer", "from_head") + " → " + head_names(best, "to_layer", "to_head")
        columns = [Column("as", "word"), Column("heads", "word"), Column("composition"), Column("random's 99%")]
        columns += [Column("percentile", help="Among random matrices of the same shapes."), Column("untrained")]
        rows = [
            [
                Cell(line["kind"]),
                Cell(name),
                Cell(number(line["value"], 3)),
                Cell(number(line["random_high"], 3)),
                Cell(number(line["percentile"], 1)),
                Cell(number(line.get("untrained"), 3)),
            ]
            for name, line in zip(names, best.to_dict("records"), strict=True)
        ]
        link_table(columns, rows, key="partners", height=_HEIGHT)
    if survey.virtual is not None:
        with right:
            st.markdown("**Virtual heads: two in a row as one**")
            pairs, words = (
                kept.at("virtual"),
                f"Shares of paths through one head or two; those of {layer}.{head} stand out",
            )
            draw(pairs.into(virtual_heads, f"{layer}.{head}"), pairs, name="virtual-heads", alt=words)


def _profiles(profiles: Told) -> None:
    st.markdown("**Where heads look by position alone**")
    names = {_where(to): to for to in profiles.value["to"].unique()}
    chosen = segments("To", list(names), "position_to")
    own = profiles.into(rows_of, to=names[chosen])
    both = ("trained", "random heads' 99%")
    chart = own.into(head_grid, control="random_high", title=f"share to {chosen}", names=both)
    words = f"Layers by heads: the share of attention to {chosen} by position alone, beside random heads"
    draw(chart, own, name="position-profiles", alt=words)
    st.caption(f"Attention to {escape_markdown(chosen)}, were every token the average one.")


def _where(to: str) -> str:
    return {"first": "the first", "0": "itself", "1": "the one before"}.get(to, f"{to} back")


def _of(table: pd.DataFrame, layer: int, head: int) -> pd.DataFrame:
    return table[(table["layer"] == layer) & (table["head"] == head)]


def _is_end(table: pd.DataFrame, end: str, layer: int, head: int) -> pd.Series:
    return (table[f"{end}_layer"] == layer) & (table[f"{end}_head"] == head)
