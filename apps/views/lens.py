"""The part of the interventions page that reads layers: lenses on held-out text, and on one text what adds to it."""

import streamlit as st

from apps import serve_results
from apps.choices import analyses, choose_analysis, segments
from apps.layout import halves
from apps.place import Place
from apps.prompt_box import begins
from apps.shown import draw
from apps.text import escape_markdown, number, shell, visible
from apps.told import Told, read
from workbench.experiments import LensReading, PromptLens, read_lens
from workbench.experiments.patching_results import RANDOM_ANSWERS
from workbench.figures import component_bars, lens_by_layer, lens_map
from workbench.figures.lens_map import likeliest
from workbench.figures.words import from_start
from workbench.runs import Artifact

_MEASURES = {
    "loss": "loss of the next token, nats",
    "kl": "KL to the subject's own, nats",
    "rank": "rank of the next token",
    "probability": "its probability",
    "agreement": "share where the likeliest is the subject's",
    "entropy": "entropy, nats",
}


def show(here: Place) -> None:
    """Draw the section."""
    st.subheader("What each layer would say", anchor=False)
    found = analyses(here.run, "lens")
    if not found:
        st.caption("The layers were not read yet. One command reads them:")
        st.code(f"workbench lens --run {shell(here.run.path)}", language="shell")
        return
    artifact = choose_analysis(found, "lens")
    lens = serve_results.opened(artifact, read_lens)
    _about(lens, artifact)
    kept = read(here.run, artifact, "lens", read_lens, lens)
    if lens.prompt is None:
        _layers(kept)
    else:
        left, right = halves()
        with left:
            _layers(kept)
        with right:
            _parts(kept.at("prompt"))
        _words(here, kept.at("prompt"))


def _about(lens: LensReading, artifact: Artifact) -> None:
    read = artifact.manifest.config["results"]["sequences"]
    fitted = " A tuned lens was fitted on training text; the shuffled one, to the answers of other positions."
    stale = " :material/history: Stale: something it was made from has changed since." if artifact.stale else ""
    st.caption(f"The subject's read-out on {read:,} held-out sequences.{fitted if lens.tuned else ''}{stale}")


def _layers(kept: Told) -> None:
    lens: LensReading = kept.value
    known = {name.replace("kl", "KL"): name for name in _MEASURES if name in set(lens.table["measure"])}
    measure = known[segments("Of each layer", list(known), "lens_measure")]
    table, words = (
        kept.at("table"),
        f"{_MEASURES[measure]}, layer by layer, beside rotated streams and the untrained subject",
    )
    draw(table.into(lens_by_layer, measure, _MEASURES[measure]), table, name="lens", alt=words)
    counted = " Dashed: what counting tokens, or pairs of them, gives." if measure == "loss" else ""
    st.caption(f"Controls: rotated streams, and the untrained subject.{counted}")


def _parts(kept: Told) -> None:
    prompt: PromptLens = kept.value
    said = f"After this text it is “{visible(prompt.answer)}”, with probability {number(prompt.probability)}."
    st.subheader("What adds to the next token", anchor=False)
    st.caption(escape_markdown(said))
    if prompt.attribution is None:
        st.caption("This subject's logits are no sum of what its parts add.")
        return
    parts = kept.at("attribution")
    words = "What each part of the subject adds to the answer's logit, beside what it adds to random answers"
    draw(parts.into(component_bars, "added to its logit"), parts, name="lens-parts", alt=words)
    total, logit = prompt.attribution["value"].sum(), prompt.attribution["logit"].iloc[0]
    st.caption(
        f"All parts add up to {number(total, 3)}: the logit is {number(logit, 3)}. "
        f"Grey: what each adds to {RANDOM_ANSWERS} random answers instead."
    )


def _words(here: Place, prompt: Told) -> None:
    st.subheader("The likeliest next token, layer by layer", anchor=False)
    reading, said = prompt.at("tokens").into(likeliest), prompt.at("words")
    words = "Hooks by positions: the likeliest next token and its probability, beside the controls"
    chart = reading.into(lens_map, said.into(from_start) if begins(here.run) else said)
    draw(chart, reading, name="lens-words", alt=words)
