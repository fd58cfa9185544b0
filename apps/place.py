"""Where the reader is, and how a link or a click leads elsewhere.

All of the view's state stands in the URL. Widgets bind their own parameters; `feature`, `label`, `token`, `f`, `unit`,
`point`, `by` and `turned`, which components set, are read and written here. Links are true `href`s, relative to the
page, so that they can be copied and opened in a new tab; a plain click on one stays inside the session.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from workbench.runs import Artifact, Run

# Each is a file of views/ and a path of the URL.
RUNS, FEATURES, PROBES, POPULATION = "runs", "features", "probes", "population"
LAB, STATES, DYNAMICS = "prompt_lab", "states", "dynamics"
ATTENTION, INTERVENTIONS = "attention", "interventions"
REPRODUCTIONS = "reproductions"
COMPARE = "compare"
_PENDING = "_pending_jump"
# What the URL says of one run's, or one dictionary's, own columns: a number means something else in another.
OF_RUN = ("feature", "f", "unit", "units", "point", "from", "to", "matches")
OF_DICTIONARY = ("feature", "f")


@dataclass(frozen=True)
class Place:
    """The run and the index that the selectors name.

    Attributes:
        run: the open run.
        run_name: its path from the runs' folder, as in the URL.
        index: the chosen feature index; None in a run that has none.
    """

    run: Run
    run_name: str
    index: Artifact | None

    def href(self, page: str, **parameters: Any) -> str:
        """A relative link to a page of this run and index."""
        known = {"run": self.run_name} | ({"index": self.index.name} if self.index else {})
        return href(page, known | parameters)


def href(page: str, parameters: Mapping[str, Any]) -> str:
    """A relative link to a page, of whichever run the parameters name."""
    return f"{'./' if page == RUNS else page}?{urlencode(parameters)}"


def follow_jump(pages: Mapping[str, Any]) -> None:
    """Follow the jump that a callback asked for, now that this run of the script knows its pages."""
    pending = st.session_state.pop(_PENDING, None)
    if pending:
        page, parameters = pending
        st.switch_page(pages[page], query_params=parameters)


def jump(page: str, **parameters: Any) -> None:
    """From a callback: open another page with these parameters once the script runs; run and index stay."""
    st.session_state[_PENDING] = (page, {name: str(value) for name, value in parameters.items()})


def integer(name: str) -> int | None:
    """A whole number from the URL; None where there is none or it is not one."""
    text = st.query_params.get(name, "")
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 12 else None


def put(name: str, value: int | str | None) -> None:
    """Write a parameter into the URL, or take it away."""
    if value is None:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = str(value)


def leave(names: tuple[str, ...]) -> None:
    """From a selector's callback: take away what is said of what was shown before."""
    for name in names:
        put(name, None)


def change_run(name: str) -> None:
    """From a callback: the same page of another run, as the selector of runs does it."""
    st.session_state["run"] = name
    leave(OF_RUN)


def show_feature(feature: int) -> None:
    """From a callback on the features page: open another feature there, examples from the beginning."""
    put("feature", feature)
    st.session_state.pop("example_page", None)
