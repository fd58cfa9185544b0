"""The explorer's entry: shared selectors and navigation. Started by `python -m apps`."""

from pathlib import Path

import pyarrow as pa
import streamlit as st

from apps import environment, place, serve
from apps.collecting import set_modules_aside
from apps.messages import NO_INDEX_OPTION, left_out, no_runs, trouble
from apps.place import Place
from apps.prompt_box import carry_text
from apps.text import escape_markdown
from apps.words import index_title
from models.artifacts import ArtifactError
from workbench.features.columns import LATENTS, kind_of
from workbench.runs import Artifact, Run

HERE = Path(__file__).parent
_MISSING = "_missing_"  # and a selector's key: what a link asked for that is not here
ICON = str(HERE / "icon.svg")  # an icon by name would be fetched from the network
PAGES = [
    (place.RUNS, "Runs", ":material/inventory_2:", "What was trained, how well, and what was made from it."),
    (place.FEATURES, "Features", ":material/grid_view:", "Every feature of a dictionary, and each one's own page."),
    (place.PROBES, "Probes", ":material/network_node:", "What each hook tells of each label, beside its controls."),
    (
        place.POPULATION,
        "Population",
        ":material/explore:",
        "What units tell together, and what each is tuned to.",
    ),
    (place.LAB, "Prompt lab", ":material/experiment:", "Type text: losses, features, attention, token by token."),
    (
        place.ATTENTION,
        "Attention",
        ":material/visibility:",
        "All heads at a glance, one in large: where each looks, what it copies and reads, what it costs to lose.",
    ),
    (
        place.INTERVENTIONS,
        "Interventions",
        ":material/tune:",
        "Patching, lens and attribution of the same prompts; steering beside unsteered text.",
    ),
    (
        place.STATES,
        "Recurrent states",
        ":material/waves:",
        "What a recurrent subject holds at each token; units that track a label; spans with one active set.",
    ),
    (place.DYNAMICS, "Dynamics", ":material/hub:", "Where a recurrent subject's states lead: its fixed points."),
    (place.REPRODUCTIONS, "Reproductions", ":material/fact_check:", "What was published, beside what was found here."),
    (
        place.COMPARE,
        "Compare",
        ":material/compare:",
        "Two runs, dictionaries, features or sets of rows, beside what chance gives.",
    ),
]


def main() -> None:
    """Draw one page."""
    st.set_page_config(page_title="Explorer", page_icon=ICON, layout="wide")
    st.html(HERE / "page.css")
    pages = {
        name: st.Page(
            HERE / "views" / f"{name}.py", title=title, icon=icon, url_path=name, help=help_, default=name == place.RUNS
        )
        for name, title, icon, help_ in PAGES
    }
    chosen = st.navigation(list(pages.values()))
    place.follow_jump(pages)
    try:
        here = _choose()
        if here is not None:
            st.session_state["_place"] = here
            chosen.run()
            carry_text()
    except (ArtifactError, OSError, pa.ArrowException) as error:
        trouble(error)
    set_modules_aside()


def _choose() -> Place | None:
    found = serve.runs()
    if unnamed := serve.unnamed_runs():
        left_out(unnamed)
    if not found:
        no_runs(environment.root())
        return None
    names = list(found)
    with st.sidebar:
        name = _select("Run", names, environment.first_run(names), "run", place.OF_RUN)
        run = Run.open(found[name].path)
        return Place(run, name, _choose_index(run))


def _choose_index(run: Run) -> Artifact | None:
    indexes = {a.name: a for a in run.artifacts() if a.kind == "features"}
    if not indexes:
        st.caption("Dictionary")
        st.selectbox("Dictionary", [NO_INDEX_OPTION], disabled=True, label_visibility="collapsed")
        return None
    of_latents = [a for a in indexes.values() if kind_of(a.manifest.config) == LATENTS]
    newest = max(of_latents or indexes.values(), key=lambda a: a.manifest.made.get("time", ""))
    chosen = indexes[_select("Dictionary", list(indexes), newest.name, "index", place.OF_DICTIONARY)]
    st.caption(escape_markdown(index_title(chosen)))
    if chosen.stale:
        st.caption(":material/history: This index is stale: something it was made from has changed since.")
    return chosen


def _select(label: str, options: list[str], default: str, key: str, leaves: tuple[str, ...]) -> str:
    """A selector whose value always stands in the URL: a link opens the same run however the explorer was started.

    What the URL says of another's alone, `leaves`, goes with a change.
    """
    asked, known = st.query_params.get(key), st.session_state.get(key)
    if asked not in options and known not in options:
        if key not in st.session_state:  # once the selector is drawn, it writes the URL itself
            st.query_params[key] = default
        st.session_state[key] = default
    # With no default of its own: Streamlit drops a default from the URL. Its label would end in "(required)".
    st.caption(label)
    name = st.selectbox(
        label,
        options,
        index=None,
        required=True,
        key=key,
        bind="query-params",
        label_visibility="collapsed",
        on_change=_changed,
        args=(key, leaves),
    )
    if asked and asked not in options:
        st.session_state[_MISSING + key] = asked
    if missing := st.session_state.get(_MISSING + key):  # said until another is chosen: a page may run twice at once
        st.warning(
            f"There is no {label.lower()} {escape_markdown(missing)} here: this is {escape_markdown(name or default)}."
        )
    return name or default


def _changed(key: str, leaves: tuple[str, ...]) -> None:
    st.session_state.pop(_MISSING + key, None)
    place.leave(leaves)


main()
