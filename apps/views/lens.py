"""The part of the interventions page that reads layers: lenses on held-out text, and on one text what adds to it."""

import pandas as pd
import streamlit as st

from apps import serve
from apps.choices import analyses, choose_analysis, segments
from apps.layout import download, halves
from apps.place import Place
from apps.prompt_box import with_start
from apps.text import escape_markdown, number, visible
from workbench.experiments import LensReading, PromptLens
from workbench.experiments.patching_results import RANDOM_ANSWERS
from workbench.figures import component_bars, lens_by_layer, lens_map
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
        command = f"workbench lens --run {here.run.path}"
        st.caption(f"The layers were not read yet: {escape_markdown(command)} does.")
        return
    artifact = choose_analysis(found, "lens")
    lens = serve.lens(artifact)
    _about(lens, artifact)
    if lens.prompt is None:
        _layers(lens)
    else:
        left, right = halves()
        with left:
            _layers(lens)
        with right:
            _parts(lens.prompt)
        _words(here, lens.prompt)
    download(lens.table, "Layers as CSV", artifact.name)


def readings_of(lens: pd.DataFrame) -> pd.DataFrame:
    """The likeliest token of every place and kind of lens, as the figure takes it; of several draws the first."""
    best = lens[lens["place"] == 1].drop_duplicates(["variant", "hook", "position"])
    return best.assign(token=best["text"])[["hook", "position", "variant", "token", "probability"]]


def _about(lens: LensReading, artifact: Artifact) -> None:
    read = artifact.manifest.config["results"]["sequences"]
    fitted = " A tuned lens was fitted on training text; the shuffled one, to the answers of other positions."
    stale = " :material/history: Stale: something it was made from has changed since." if artifact.stale else ""
    st.caption(f"The subject's read-out on {read:,} held-out sequences.{fitted if lens.tuned else ''}{stale}")


def _layers(lens: LensReading) -> None:
    known = [name for name in _MEASURES if name in set(lens.table["measure"])]
    measure = segments("Of each layer", known, "lens_measure")
    st.altair_chart(lens_by_layer(lens.table, measure, _MEASURES[measure]), width="stretch")
    counted = " Dashed: what counting tokens, or pairs of them, gives." if measure == "loss" else ""
    st.caption(f"Controls: rotated streams, and the untrained subject.{counted}")


def _parts(prompt: PromptLens) -> None:
    said = f"After this text it is “{visible(prompt.answer)}”, with probability {number(prompt.probability)}."
    st.markdown(f"**What adds to the next token.** {escape_markdown(said)}")
    if prompt.attribution is None:
        st.caption("This subject's logits are no sum of what its parts add.")
        return
    st.altair_chart(component_bars(prompt.attribution, "added to its logit"), width="stretch")
    total, logit = prompt.attribution["value"].sum(), prompt.attribution["logit"].iloc[0]
    st.caption(
        f"All parts add up to {number(total, 3)}: the logit is {number(logit, 3)}. "
        f"Grey: what each adds to {RANDOM_ANSWERS} random answers instead."
    )


def _words(here: Place, prompt: PromptLens) -> None:
    st.markdown("**The likeliest next token, layer by layer**")
    st.altair_chart(lens_map(readings_of(prompt.tokens), with_start(here.run, prompt.words)), width="stretch")
