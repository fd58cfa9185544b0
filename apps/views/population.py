"""The population page: what units tell together, beside every control, and what each of them is tuned to."""

import pandas as pd
import streamlit as st

from apps import serve_results
from apps.choices import analyses, choose_analysis, segments, select
from apps.components.link_table import Cell, Column, link_table
from apps.layout import halves
from apps.messages import no_decoding, no_subject
from apps.place import Place
from apps.shown import draw
from apps.text import escape_markdown, number, p_value, percent
from apps.told import Told, read
from apps.views import tuning
from models.artifacts import ArtifactError
from workbench.decoding import Decoding, read_decoding
from workbench.figures import decoded_path, decoded_scatter, decoded_trace, decoding_scores
from workbench.figures.decoding_scores import MEASURES, Measure
from workbench.figures.palette import DECODER_VARIANTS
from workbench.figures.slices import rows as rows_of
from workbench.figures.slices import stretch as stretch_of
from workbench.runs import Artifact

DECODER, *CONTROLS = DECODER_VARIANTS
_HELP = {
    "random subject": "The same decoder on the same rows of the network before its training.",
    "shuffled": "The variable shifted in time against the units: what is left when they say nothing of it.",
    "mean": "The mean of the bins that were fitted on, always.",
}
_STRETCH = 300  # bins in one picture

Periods = dict[str, float | None]


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    found = analyses(here.run, "decode")
    if not found:
        if any(artifact.kind == "model" for artifact in here.run.artifacts()) or not no_subject(here.run):
            no_decoding(here.run)
        return
    st.title("Population", anchor=False)
    about = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        artifact = choose_analysis(found, "population")
        decoding = serve_results.opened(artifact, read_decoding)
        sets = _sets(artifact, decoding)
        hooks = decoding.results["hook"].unique().tolist()
        hook = select("Hook", hooks, hooks[0], "hook")
        titles = list(sets)
        title = select("Variables", titles, titles[0], "variables")
        measures = {MEASURES[name]: name for name in MEASURES if name in decoding.results}
        measure = measures[segments("Score", list(measures), "measure")]
    periods = sets[title]
    kept = read(here.run, artifact, "decoding", read_decoding, decoding)
    told_lines = kept.at("results").into(rows_of, hook=hook, output=list(periods))
    lines = told_lines.value
    with about:
        st.caption(_about(artifact, lines))
    _scores(told_lines, measure)
    _notes(lines)
    _decoded(kept.at("decoded").into(rows_of, hook=hook, output=list(periods)), periods)
    tuning.show(here, kept, artifact, hook, title)


def _sets(artifact: Artifact, decoding: Decoding) -> dict[str, Periods]:
    """What was decoded together, by its title, with the period of each variable."""
    try:
        config = artifact.manifest.config
        asked = [{name: config["circular"].get(name) for name in one.split(", ")} for one in config["variables"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{artifact.path} is damaged: its manifest does not say what was decoded.") from error
    known = set(decoding.results["output"])
    sets = {", ".join(one): one for one in asked if known & set(one)}
    if not sets:
        raise ArtifactError(f"{artifact.path} is damaged: it has no score of what its manifest says was decoded.")
    return sets


def _about(artifact: Artifact, lines: pd.DataFrame) -> str:
    config = artifact.manifest.config
    told = [f"{lines['decoder'].nunique():,} decoders"]
    if "bins" in lines and lines["bins"].notna().any():
        told.append(f"judged by {lines['bins'].max():,.0f} bins of documents that were not fitted on")
    if recording := config.get("recording"):
        told.append(f"recording {escape_markdown(recording)}")
    if where := config.get("where"):
        told.append(f"only where {escape_markdown(where)}")
    if artifact.stale:
        told.append(":material/history: stale: something it was made from has changed since")
    return " · ".join(told)


def _scores(told_lines: Told, measure: Measure) -> None:
    lines = told_lines.value
    st.subheader("How well it is read, beside every control", anchor=False)
    outputs = lines["output"].unique().tolist()
    panes = [pane for _ in range(0, len(outputs), 2) for pane in halves()]
    for at, (pane, output) in enumerate(zip(panes, outputs, strict=False)):
        with pane:
            st.caption(escape_markdown(output))
            own = told_lines.into(rows_of, output=output)
            words = f"{MEASURES[measure]} of {output} by each decoder, beside the random subject and the other controls"
            draw(own.into(decoding_scores, measure), own, name=f"decoding-scores-{at + 1}", alt=words)
    told = " A grey stroke is the least error that the counts allow (Cramér and Rao)."
    bounded = measure == "error" and "bound" in lines and lines["bound"].notna().any()
    low = " An R² below −1 stands at −1." if measure == "r2" and (lines["r2"] < -1).any() else ""
    st.caption(f"Bars are 95% intervals.{told if bounded else ''}{low}")
    _table(lines, measure)


_ERROR = Column("error", help="Root of the mean square; of angles the mean of its size.")


def _table(lines: pd.DataFrame, measure: Measure) -> None:
    there = [name for name in CONTROLS if name in set(lines["variant"])]
    columns = [
        Column("variable", "text"),
        Column("decoder", "text"),
        _ERROR if measure == "error" else Column(MEASURES[measure], "bar-number", "On held-out bins."),
        Column("95% interval"),
        *(Column(name, help=_HELP[name]) for name in there),
        *([] if measure == "error" else [_ERROR]),
        Column("bound", help="The least error that these counts allow, by Cramér and Rao."),
        Column("95% covers", help="How often the truth lies in the decoder's own 95% band."),
        Column("p", help="How often the variable shifted in time is read as well."),
    ]
    rows = []
    for (output, decoder), group in lines.groupby(["output", "decoder"], sort=False):
        of = group.drop_duplicates("variant").set_index("variant")

        def at(name: str, variant: str = DECODER, of: pd.DataFrame = of) -> float:
            known = of[name].get(variant) if name in of else None
            return float("nan") if known is None else float(known)

        low, high = at(f"{measure}_low"), at(f"{measure}_high")
        rows.append(
            [
                Cell(str(output)),
                Cell(str(decoder)),
                Cell(number(at(measure), 3), bar=None if measure == "error" else at(measure)),
                Cell(f"{number(low, 3)} to {number(high, 3)}" if low == low else "–"),
                *(Cell(number(at(measure, variant), 3)) for variant in there),
                *([] if measure == "error" else [Cell(number(at("error"), 3))]),
                Cell(number(at("bound"), 3)),
                Cell(percent(at("coverage"))),
                Cell(p_value(at("p_value"))),
            ]
        )
    link_table(columns, rows, key="decoder_table")


def _notes(lines: pd.DataFrame) -> None:
    """What to mind, each sentence once, with those that it is true of."""
    noted = lines[lines["note"].fillna("") != ""]
    for note, group in noted.groupby("note", sort=False):
        of = [str(name) for name in group["decoder"].unique()]
        where = "" if len(of) == lines["decoder"].nunique() else f"{', '.join(of)}: "
        sentence = where + str(note)
        st.info(f"{escape_markdown(sentence[:1].upper() + sentence[1:])}", icon=":material/info:")


def _decoded(told_decoded: Told, periods: Periods) -> None:
    decoded = told_decoded.value
    st.subheader("Decoded against true", anchor=False)
    if decoded.empty:
        st.caption("No estimates were kept of this hook.")
        return
    decoders = decoded["decoder"].unique().tolist()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        decoder = select("Decoder", decoders, decoders[0], "decoder")
        told_own = told_decoded.into(rows_of, decoder=decoder)
        own = told_own.value
        n_bins = int(own.groupby("output").size().max())
        last = max(1, -(-n_bins // _STRETCH))
        stretch = 1
        if last > 1:
            stretch = int(st.number_input("Stretch", 1, last, key="stretch", bind="query-params", width=140))
    start = (min(stretch, last) - 1) * _STRETCH
    told_shown = told_own.into(stretch_of, "output", start, _STRETCH).named("shown")
    shown = told_shown.value
    st.caption(
        f"Held-out bins {start + 1:,} to {min(start + _STRETCH, n_bins):,} of the {n_bins:,} that were kept; the band "
        "is where the decoder believes the truth to be with 95%. Lines end where a sequence does."
    )
    outputs = [name for name in periods if name in set(shown["output"])]
    for at, output in enumerate(outputs):
        trace = told_shown.into(rows_of, output=output)
        chart = trace.into(decoded_trace, period=periods[output], title=output)
        draw(chart, trace, name=f"decoded-trace-{at + 1}", alt=f"{output} by bin: decoded, with its 95% band, and true")
    linear = [name for name in outputs if periods[name] is None]
    with st.container(horizontal=True, gap="medium"):
        if len(linear) >= 2:
            words = f"The path through {linear[0]} and {linear[1]}: decoded and true"
            with st.container(width="content"):
                chart = told_shown.into(decoded_path, (linear[0], linear[1]))
                draw(chart, told_shown, name="decoded-path", alt=words, as_drawn=True)
        for at, output in enumerate(outputs):
            pairs = told_own.into(rows_of, output=output)
            with st.container(width="content"):
                chart = pairs.into(decoded_scatter, title=output, size=200)
                draw(
                    chart, pairs, name=f"decoded-scatter-{at + 1}", alt=f"Decoded against true {output}", as_drawn=True
                )


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
