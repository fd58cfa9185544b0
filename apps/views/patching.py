"""The part of the interventions page that shows patching: what two prompts differ in, traced through the subject."""

import streamlit as st

from apps import serve
from apps.choices import analyses, choose_analysis, segments
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.layout import download, halves
from apps.messages import no_patching
from apps.place import Place
from apps.prompt_box import with_start
from apps.text import escape_markdown, signed, visible
from apps.views.lens import readings_of
from workbench.experiments import Patching
from workbench.experiments.patching_results import RANDOM_ANSWERS
from workbench.figures import component_bars, lens_by_layer, lens_map, patching_map, patching_profile
from workbench.figures.hook_names import short_hooks
from workbench.runs import Artifact, Run

_LISTED, _HEIGHT = 100, 320  # pairs in the table
_MEASURES = {
    "loss": "loss of the answer, nats",
    "rank": "rank of the answer",
    "probability": "its probability",
    "kl": "KL to the subject's own, nats",
}
_EFFECTS = {"ablation": "effect on the metric"}
_RESTORED = "share of the effect restored"
_PARTS = ("position", "head", "unit")


def show(here: Place, *, reads_text: bool) -> None:
    """Draw the section."""
    found = analyses(here.run, "patch")
    if not found:
        no_patching(here.run, reads_text=reads_text)
        return
    artifact = choose_analysis(found, "patch")
    _experiment(here.run, serve.patching(artifact), artifact)


def _experiment(run: Run, patching: Patching, artifact: Artifact) -> None:
    _about(patching, artifact)
    _pairs(patching)
    st.subheader(_titled(patching, artifact), anchor=False)
    _map(run, patching)
    left, right = halves()
    with left:
        _profile(patching)
        _logit_attribution(patching)
    with right:
        _lens(patching)
    _words(run, patching)
    download(patching.table, "Effects as CSV", artifact.name)


def _about(patching: Patching, artifact: Artifact) -> None:
    told = artifact.manifest.config["results"]
    shown = [
        Fact("pairs", f"{told['pairs']:,}", "", "Of a clean and a corrupt prompt, equally long."),
        Fact("clean metric", signed(told["clean"]), "", "Mean logit of the clean answer above the corrupt one's."),
        Fact("corrupt metric", signed(told["corrupt"]), "", "The same after the corrupt prompts."),
    ]
    if patching.crossing:
        crossing = short_hooks([patching.crossing])[patching.crossing]
        shown.append(
            Fact(
                "crosses at",
                crossing,
                "",
                "From here on it is the last token that restores most.",
            )
        )
    facts(shown, key="patching_facts")
    notes = []
    if told["mapped"] < told["pairs"]:
        notes.append(f"The map is of the {told['mapped']:,} pairs that are aligned word by word with the first.")
    if artifact.stale:
        notes.append(":material/history: Stale: something it was made from has changed since.")
    if notes:
        st.caption(" ".join(notes))


def _titled(patching: Patching, artifact: Artifact) -> str:
    config = artifact.manifest.config
    by = " and ".join(config["by"]) or ("set" if config.get("sets") else "hook")
    kind = f"{config['ablation']} ablation" if patching.method == "ablation" else patching.method
    return f"{kind[0].upper() + kind[1:]} by {by}"


def _pairs(patching: Patching) -> None:
    first = patching.pairs[patching.pairs["pair"] == patching.first].iloc[0]
    changes = ", ".join(
        f"{visible(patching.words()[at])} → {visible(word)}" for at, word in list(patching.changed().items())[:6]
    )
    answers = f"; the answer is {visible(first['answer'])}, not {visible(first['wrong'])}" if first["answer"] else ""
    st.caption(f"For one: {escape_markdown(changes or 'another source')}{escape_markdown(answers)}")
    with st.expander(f"The {len(patching.pairs):,} pair{'s' * (len(patching.pairs) != 1)} of prompts"):
        columns = [
            Column("clean", "prose"),
            Column("corrupt", "prose"),
            Column("answer", "token"),
            Column("wrong", "token"),
            Column("clean metric"),
            Column("corrupt metric"),
        ]
        rows = [
            [
                Cell(visible(line["clean_text"])),
                Cell(visible(line["corrupt_text"])),
                Cell(line["answer"]),
                Cell(line["wrong"]),
                Cell(signed(line["clean"])),
                Cell(signed(line["corrupt"])),
            ]
            for line in patching.pairs.head(_LISTED).to_dict("records")
        ]
        link_table(columns, rows, key="pairs", height=_HEIGHT)


def _map(run: Run, patching: Patching) -> None:
    table = patching.table
    along = [part for part in _PARTS if table[part].notna().any()]
    title = _EFFECTS.get(patching.method, _RESTORED)
    if not along:
        _whole_hooks(patching, title)
        return
    chosen = segments("To the right", along, "along") if len(along) > 1 else along[0]
    for axis in dict.fromkeys(patching.axes.values()):
        own = table[table["hook"].map(patching.axes) == axis]
        words = with_start(run, patching.words(axis), axis) if chosen == "position" else None
        changed = {at: visible(word) for at, word in patching.changed(axis).items()}
        st.altair_chart(patching_map(own, words, along=chosen, changed=changed, title=title), width="stretch")
        if axis == "source":
            st.caption("Positions of the source.")
    st.caption("Below or beside it: moves as large in random directions. In brackets the corrupt prompt's word.")


def _whole_hooks(patching: Patching, title: str) -> None:
    """A line a hook, where each was taken as a whole; its controls' mean beside it."""
    means = patching.table.pivot_table("effect", "hook", "variant", sort=False)
    columns = [Column("hook", "word"), *(Column(variant) for variant in means.columns)]
    rows = [[Cell(hook), *(Cell(signed(value, 3)) for value in means.loc[hook])] for hook in means.index]
    link_table(columns, rows, key="whole_hooks")
    st.caption(f"{title[0].upper() + title[1:]}; random directions beside it.")


def _profile(patching: Patching) -> None:
    if patching.profile is None:
        return
    st.subheader("From the changed word to the answer", anchor=False)
    short = short_hooks(patching.profile["hook"].unique().tolist())
    table = patching.profile.assign(stage=patching.profile["hook"].map(short))
    st.altair_chart(patching_profile(table), width="stretch")
    st.caption("Every position of a place patched at once, over all pairs; dashed, random directions.")


def _logit_attribution(patching: Patching) -> None:
    if patching.logit_attribution is None:
        return
    st.subheader("What each part adds to the answer", anchor=False)
    st.altair_chart(component_bars(patching.logit_attribution), width="stretch")
    total, logit = patching.logit_attribution["value"].sum(), patching.logit_attribution["logit"].iloc[0]
    st.caption(
        f"All parts add up to {signed(total, 3)}: the subject's logit difference is {signed(logit, 3)}. "
        f"Grey: what it adds to {RANDOM_ANSWERS} random answers instead."
    )


def _lens(patching: Patching) -> None:
    if patching.lens is None:
        return
    st.subheader("What it would answer already", anchor=False)
    known = [name for name in _MEASURES if name in set(patching.lens["measure"])]
    measure = segments("Measure", known, "measure")
    st.altair_chart(lens_by_layer(patching.lens, measure, _MEASURES[measure]), width="stretch")
    st.caption("The logit lens after the clean prompts; its controls are rotated streams, and the untrained subject.")


def _words(run: Run, patching: Patching) -> None:
    if patching.lens_tokens is None:
        return
    st.subheader("The likeliest next token, layer by layer", anchor=False)
    st.altair_chart(lens_map(readings_of(patching.lens_tokens), with_start(run, patching.words())), width="stretch")
