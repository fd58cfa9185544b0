"""The reproductions page: what was published beside what was found here, and which of it has not been run yet."""

import streamlit as st

from apps import environment, place, reproduced
from apps.choices import segments
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table, opened
from apps.messages import trouble
from apps.place import Place
from apps.reproduced import MET, MISSED, NO_BAR, Reproduction
from apps.shown import draw
from apps.text import escape_markdown, moment
from apps.told import Told, run_of
from workbench.figures.saved import saved_chart

_TABLE, _RUNS, _CHOSEN = "reproduction_table", "reproduction_runs", "reproduction"
_EVERY = "all"
_HEIGHT = 620


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    st.title("Reproductions", anchor=False)
    found, damaged = reproduced.below_root()
    for error in damaged:
        trouble(error)
    missing = reproduced.not_run(found)
    if found:
        _counts(found, missing)
        _chosen(here, found)
        _results(here, found)
    else:
        st.info("No published result has been re-made below this folder yet: each command below makes one.")
    _not_run(missing)


def _counts(found: list[Reproduction], missing: list[str]) -> None:
    met, missed, none = (sum(one.count(verdict) for one in found) for verdict in (MET, MISSED, NO_BAR))
    shown = [
        Fact("reproductions", f"{len(found):,}", f"{len(missing):,} not run yet"),
        Fact("bars met", f"{met:,}", f"of {met + missed:,}", "What a result has to be to count as re-made."),
        Fact("missed", f"{missed:,}"),
        Fact("no bar", f"{none:,}", "", "Reported alone: the paper gives no number, or ours is of another size."),
    ]
    facts(shown, key="reproduction_counts")
    if any(one.size == "quick" for one in found):
        st.caption("Quick ones are of one seed and a smaller size: bars are meant for full ones.")


def _results(here: Place, found: list[Reproduction]) -> None:
    """Every line of every table that was asked for."""
    st.subheader("Result by result", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        verdict = segments("Bar", [_EVERY, MISSED, MET, NO_BAR], "bar")
        sizes = [_EVERY, *dict.fromkeys(one.size for one in found)]
        size = segments("Size", sizes, "size") if len(sizes) > 2 else _EVERY
    columns = [
        Column("reproduction", "prose", "Leads to its figures and to its run."),
        Column("result", "prose"),
        Column("published", "prose"),
        Column("ours", "prose"),
        Column("bar", "prose"),
        Column("verdict", "word"),
        Column("size", "word"),
        Column("made", "word"),
    ]
    rows, ids = [], []
    for at, one in enumerate(found):
        if size not in (_EVERY, one.size):
            continue
        lines = one.table if verdict == _EVERY else one.table[one.table["verdict"] == verdict]
        for n, line in enumerate(lines.to_dict("records")):
            name = Cell(one.title, href=here.href(place.REPRODUCTIONS, reproduction=one.run_name)) if n == 0 else ""
            said = [Cell(str(line[column])) for column in ("result", "published", "ours", "bar")]
            rows.append([name, *said, Cell(line["verdict"]), Cell(one.size), Cell(moment(one.made))])
            ids.append(at)
    if not rows:
        st.caption("There are none of this kind.")
        return

    def follow() -> None:
        place.put(_CHOSEN, found[opened(_TABLE)[0]].run_name)

    link_table(columns, rows, key=_TABLE, ids=ids, on_open=follow, height=_HEIGHT)
    total = sum(len(one.table) for one in found)
    st.caption(f"{len(rows):,} of {total:,} results, the newest reproduction first.")


def _chosen(here: Place, found: list[Reproduction]) -> None:
    """One of them: the one that the URL names, else nothing."""
    asked = st.query_params.get(_CHOSEN)
    if asked is None:
        return
    chosen = next((one for one in found if one.run_name == asked), None)
    if chosen is None:
        st.warning(f"There is no reproduction {escape_markdown(asked)} here.", icon=":material/info:")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(escape_markdown(chosen.title), anchor=False, width="stretch")
        st.button("Close", icon=":material/close:", type="tertiary", on_click=place.put, args=(_CHOSEN, None))
    counted = ", ".join(f"{chosen.count(v):,} {v}" for v in (MET, MISSED, NO_BAR) if chosen.count(v))
    about = [escape_markdown(chosen.paper), chosen.size, moment(chosen.made), counted]
    st.caption(" · ".join(part for part in about if part))
    link = Cell(chosen.run_name, href=here.href(place.RUNS, run=chosen.run_name))

    def follow() -> None:
        st.session_state["run"] = chosen.run_name
        place.jump(place.RUNS, run=chosen.run_name)

    link_table([Column("run", "code")], [[link]], key=_RUNS, ids=[0], on_open=follow)
    for artifact in chosen.figures:
        opened_run = run_of(chosen.run)
        path = f"run.find({artifact.kind!r}, {artifact.name!r}).path"
        words = artifact.name.replace("_", " ")
        st.caption(escape_markdown(words))
        chart = Told(artifact.path, path, opened_run.imports, opened_run.lines).into(saved_chart)
        table = Told(reproduced.table_of(artifact), "")
        draw(chart, table, name=f"figure-{artifact.name}", alt=f"{chosen.title}: {words}")


def _not_run(missing: list[str]) -> None:
    if not missing:
        return
    st.subheader("Not run yet", anchor=False)
    said = reproduced.titles()
    root = environment.root() / "reproductions"
    columns = [Column("result", "prose"), Column("paper", "prose"), Column("command", "passage")]
    rows = [[Cell(said[name][0]), Cell(said[name][1]), Cell(f"workbench reproduce {name}")] for name in missing]
    link_table(columns, rows, key="not_run", height=_HEIGHT)
    st.caption(
        "As they stand these are quick, of at most five minutes each; with --full, at the published size. "
        f"With {escape_markdown(f'--root {root}')} this page finds them."
    )


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
