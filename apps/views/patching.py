"""The part of the interventions page that shows patching: what two prompts differ in, traced through the subject."""

import streamlit as st

from apps import serve_results
from apps.choices import analyses, choose_analysis, segments
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.messages import no_patching
from apps.place import Place
from apps.prompt_box import begins
from apps.shown import draw
from apps.text import escape_markdown, signed, visible
from apps.told import Told, read
from workbench.experiments import Patching, read_patching
from workbench.experiments.patching_results import RANDOM_ANSWERS
from workbench.figures import component_bars, lens_by_layer, lens_map, patching_map, patching_profile
from workbench.figures.hook_names import short_hooks
from workbench.figures.lens_map import likeliest
from workbench.figures.patching_profile import staged
from workbench.figures.slices import rows as rows_of
from workbench.figures.words import from_start
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
    _experiment(here.run, serve_results.opened(artifact, read_patching), artifact)


def _experiment(run: Run, patching: Patching, artifact: Artifact) -> None:
    kept = read(run, artifact, "patching", read_patching, patching)
    _about(patching, artifact)
    _pairs(patching)
    st.subheader(_titled(patching, artifact), anchor=False)
    _map(run, kept)
    left, right = halves()
    with left:
        _profile(kept)
        _logit_attribution(kept)
    with right:
        _lens(kept)
    _words(run, kept)


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
                "reaches the answer at",
                crossing,
                "",
                "From this place in the layers on, the last token restores more than where the prompts differ: by "
                "then the answer has moved from the one to the other.",
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
            Column("clean", "passage"),
            Column("corrupt", "passage"),
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


def _map(run: Run, kept: Told) -> None:
    patching: Patching = kept.value
    table = patching.table
    along = [part for part in _PARTS if table[part].notna().any()]
    title = _EFFECTS.get(patching.method, _RESTORED)
    if not along:
        _whole_hooks(patching, title)
        return
    chosen = segments("To the right", along, "along") if len(along) > 1 else along[0]
    for axis in dict.fromkeys(patching.axes.values()):
        own = kept.at("table").into(rows_of, hook=[hook for hook, of in patching.axes.items() if of == axis])
        words = _said(run, kept, axis) if chosen == "position" else None
        changed = {at: visible(word) for at, word in patching.changed(axis).items()}
        chart = own.into(patching_map, words, along=chosen, changed=changed, title=title)
        seen = f"Hooks by {chosen} of the {axis}: {title}, beside moves as large in random directions"
        draw(chart, own, name=f"patching-{axis}", alt=seen)
        if axis == "source":
            st.caption("Positions of the source.")
    st.caption(
        "The map of random directions is the control: as much is moved, but elsewhere. In brackets stands the "
        "corrupt prompt's word."
    )


def _said(run: Run, kept: Told, axis: str = "target") -> Told:
    """The words of the first prompt, as `with_start` shows them."""
    words = kept.do("words", axis)
    return words.into(from_start) if begins(run, axis) else words


def _whole_hooks(patching: Patching, title: str) -> None:
    """A line a hook, where each was taken as a whole; its controls' mean beside it."""
    means = patching.table.pivot_table("effect", "hook", "variant", sort=False)
    columns = [Column("hook", "word"), *(Column(variant) for variant in means.columns)]
    rows = [[Cell(hook), *(Cell(signed(value, 3)) for value in means.loc[hook])] for hook in means.index]
    link_table(columns, rows, key="whole_hooks")
    st.caption(f"{title[0].upper() + title[1:]}; random directions beside it.")


def _profile(kept: Told) -> None:
    if kept.value.profile is None:
        return
    st.subheader("From the changed word to the answer", anchor=False)
    table = kept.at("profile").into(staged)
    words = "Share of the effect restored by patching each place, layer by layer; dashed, random directions"
    draw(table.into(patching_profile), table, name="patching-profile", alt=words)
    st.caption("Every position of a place patched at once, over all pairs; dashed, random directions.")


def _logit_attribution(kept: Told) -> None:
    patching: Patching = kept.value
    if patching.logit_attribution is None:
        return
    st.subheader("What each part adds to the answer", anchor=False)
    parts = kept.at("logit_attribution")
    words = "What each part of the subject adds to the logit difference, beside what it adds to random answers"
    draw(parts.into(component_bars), parts, name="logit-attribution", alt=words)
    total, logit = patching.logit_attribution["value"].sum(), patching.logit_attribution["logit"].iloc[0]
    st.caption(
        f"All parts add up to {signed(total, 3)}: the subject's logit difference is {signed(logit, 3)}. "
        f"Grey: what it adds to {RANDOM_ANSWERS} random answers instead."
    )


def _lens(kept: Told) -> None:
    patching: Patching = kept.value
    if patching.lens is None:
        return
    st.subheader("What it would answer already", anchor=False)
    known = {name.replace("kl", "KL"): name for name in _MEASURES if name in set(patching.lens["measure"])}
    measure = known[segments("Measure", list(known), "measure")]
    lens, words = (
        kept.at("lens"),
        f"{_MEASURES[measure]}, layer by layer, beside rotated streams and the untrained subject",
    )
    draw(lens.into(lens_by_layer, measure, _MEASURES[measure]), lens, name="patching-lens", alt=words)
    st.caption("The logit lens after the clean prompts; its controls are rotated streams, and the untrained subject.")


def _words(run: Run, kept: Told) -> None:
    if kept.value.lens_tokens is None:
        return
    st.subheader("The likeliest next token, layer by layer", anchor=False)
    reading = kept.at("lens_tokens").into(likeliest)
    words = "Hooks by positions: the likeliest next token and its probability, beside the controls"
    draw(reading.into(lens_map, _said(run, kept)), reading, name="patching-words", alt=words)
