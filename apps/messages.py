"""What the explorer says when there is nothing to show, or something is wrong: one plain sentence and the way on."""

from pathlib import Path
from typing import Any

import streamlit as st

from apps import place, serve
from apps.components.session_link import session_link
from apps.place import Place
from apps.text import escape_markdown, shell
from apps.words import words_of
from models.artifacts import ArtifactError
from models.spiking import SpikingNetwork
from models.tuned import TunedPopulation
from workbench.dynamics import has_recurrence
from workbench.features.index.feature_index import FeatureIndex
from workbench.runs import Run, list_runs

NO_INDEX_OPTION = "no index yet"


def no_runs(root: Path) -> None:
    """There is no run below the root."""
    st.title("Nothing to explore yet", anchor=False)
    st.markdown(f"There is no run in {escape_markdown(root)}. This makes a first one in a few minutes:")
    st.code("workbench demo", language="shell")
    st.caption("This page shows it as soon as it is there: reload.")


def left_out(names: list[str]) -> None:
    """Runs below the root cannot be shown: how many, and why."""
    some = ", ".join(names[:3]) + ", …" * (len(names) > 3)
    one = len(names) == 1
    what, why = ("run is", "is no name in UTF-8") if one else ("runs are", "are no names in UTF-8")
    plain(ValueError(f"{len(names):,} {what} left out: {some} {why}. A folder that is renamed is shown."))


def no_index(run: Run) -> None:
    """The run has no feature index: say which command is next."""
    for why in run.damaged().values():
        trouble(ArtifactError(why))
    kinds = {artifact.kind for artifact in run.artifacts()}
    verbs = [("model", "train"), ("activations", "harvest"), ("sae", "sae"), ("features", "index")]
    missing = [verb for kind, verb in verbs if kind not in kinds]
    st.title("No features to show yet", anchor=False)
    one = len(missing) == 1
    st.markdown(
        f"This run has no feature index. {'One command makes it' if one else 'These commands make it, in order'}:"
    )
    st.code("\n".join(f"workbench {verb} --run {shell(run.path)}" for verb in missing), language="shell")


def no_probes(run: Run) -> None:
    """The run has no table of probes: say which command is next."""
    _drafts(run, "probes/")
    kinds = {artifact.kind for artifact in run.artifacts()}
    missing = [verb for kind, verb in (("activations", "harvest"), ("probes", "probe")) if kind not in kinds]
    st.title("No probes to show yet", anchor=False)
    one = "One command asks" if len(missing) == 1 else "These commands ask, in order,"
    st.markdown(f"{one} every hook of a recording what it tells of every label:")
    st.code("\n".join(f"workbench {verb} --run {shell(run.path)}" for verb in missing), language="shell")


def no_decoding(run: Run) -> None:
    """Nothing was decoded in this run: say which command is next."""
    _drafts(run, "analyses/")
    kinds = {artifact.kind for artifact in run.artifacts()}
    missing = [] if "activations" in kinds else ["harvest"]
    st.title("No population decoded yet", anchor=False)
    one = "These commands read" if missing else "One command reads"
    st.markdown(f"{one} variables off a recording's units, and what each unit is tuned to:")
    st.code("\n".join(f"workbench {verb} --run {shell(run.path)}" for verb in [*missing, "decode"]), language="shell")


def no_dynamics(run: Run) -> None:
    """The dynamics of this run's subject were not looked at: say which command does."""
    _drafts(run, "analyses/")
    st.title("No dynamics to show yet", anchor=False)
    st.markdown("One command finds the fixed points of a recurrent subject, and what lies about them:")
    st.code(f"workbench dynamics --run {shell(run.path)}", language="shell")


def no_heads(run: Run) -> None:
    """The heads of this run's subject were not looked at: say which command does."""
    _drafts(run, "analyses/")
    st.info("What each head does was not measured yet. One command scores all of them, beside their controls:")
    st.code(f"workbench heads --run {shell(run.path)}", language="shell")


def no_patching(run: Run, *, reads_text: bool) -> None:
    """Nothing was patched in this run: say which command does."""
    _drafts(run, "analyses/")
    st.info("No prompts were patched yet. One command finds where the subject holds what two prompts differ in:")
    where = "--pairs bracket" if reads_text else "--examples"
    st.code(f"workbench patch --run {shell(run.path)} {where}", language="shell")


def no_subject(run: Run) -> bool:
    """Say so where a run has no subject of its own; whether that is so."""
    kinds = {artifact.kind for artifact in run.artifacts()}
    if "model" in kinds:
        return False
    below = [found.path.relative_to(run.path).as_posix() for found in list_runs(run.path) if found.path != run.path]
    if below:
        st.info(f"This run has no subject of its own: those inside it have one, such as {escape_markdown(below[0])}.")
    elif "analysis" in kinds:
        st.info("This run holds tables alone, and no subject.")
    else:
        st.info("This run has no subject yet. This command trains one:")
        st.code(f"workbench train --run {shell(run.path)}", language="shell")
    return True


def no_text(here: Place, subject: Any, why: ValueError) -> None:
    """A typed text cannot be given to a subject: why, and the page that shows what it does with what it does read."""
    page, title, what = _instead(subject)
    st.info(f"{escape_markdown(_capital(str(why)).removesuffix('.'))}: {what} on the page {title}.")
    session_link(f"Open {title}", here.href(page), lambda: place.jump(page), key="instead_of_text")


def _instead(subject: Any) -> tuple[str, str, str]:
    """A page, its title, and what it shows of a subject that reads no text."""
    if isinstance(subject, SpikingNetwork | TunedPopulation):
        return place.POPULATION, "Population", "what its cells tell together, and what each is tuned to, is"
    if any(name.endswith("hook_pattern") for name in subject.hook_dict):
        return place.ATTENTION, "Attention", "where its heads look in held-out sequences is"
    if getattr(subject.cfg, "d_vocab_source", None) is not None:
        return place.INTERVENTIONS, "Interventions", "where it holds what two held-out examples differ in is"
    if has_recurrence(subject):
        return place.DYNAMICS, "Dynamics", "where its states lead, and which units tell a label, is"
    return place.PROBES, "Probes", "what its hooks tell of each label is"


def no_recurrence(subject: Any, page: str) -> None:
    """A subject goes from one step to the next by nothing that it holds; a link to the same page of a run that does."""
    name = type(subject).__name__
    article = "An" if name[0] in "AEIO" or name == "MLP" else "A"
    st.info(f"{article} {name} has no recurrence: nothing in it goes from one step to the next.")
    if known := serve.run_with_recurrence():
        session_link(
            f"The run {known} has one: open it here",
            place.href(page, {"run": known}),
            lambda: place.change_run(known),
            key="to_recurrence",
        )


def no_feature(asked: str, index: FeatureIndex) -> None:
    """The URL names a feature, unit, head or direction that is not there."""
    one, last = words_of(index.config).one, index.n_features - 1
    plain(ValueError(f"there is no {one} {asked!r} in this dictionary: they are numbered 0 to {last}."))


def no_label(asked: str) -> None:
    """The URL names a label that was not probed."""
    plain(ValueError(f"no label {asked!r} was probed here: these are the ones that were."))


def trouble(error: Exception) -> None:
    """An artifact is missing, damaged or foreign."""
    sentence = str(error)
    if isinstance(error, OSError) and error.strerror:
        sentence = f"{error.filename or 'A file'}: {error.strerror}."
    st.error(escape_markdown(_capital(sentence)), icon=":material/error:")
    st.caption("Nothing else is affected: choose another run or dictionary, or make this one anew and reload the page.")


def plain(error: ValueError) -> None:
    """Something that was typed cannot be used."""
    st.warning(escape_markdown(_capital(str(error))), icon=":material/info:")


def _drafts(run: Run, below: str) -> None:
    """What is being made there, or was left unfinished."""
    for draft in run.drafts():
        if run.key(draft.home).startswith(below):
            st.info(escape_markdown(draft.about(run.key(draft.home))), icon=":material/hourglass:")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
