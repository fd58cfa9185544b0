"""What units tell together, beside every control, and what each of them is tuned to."""

import pandas as pd

from apps.export.blocks import Block, Cell, Column, Folded, Halves, Page, Picture, Section, Table, Words
from apps.export.cells import barred, between, chance, share, told
from apps.export.chosen import POPULATION, VIEWS, Chosen, folder_of
from apps.text import number
from workbench.decoding import Decoding, read_decoding
from workbench.figures import decoded_path, decoded_scatter, decoded_trace, decoding_scores, maps_table, rate_maps
from workbench.figures.decoding_scores import MEASURES, Measure
from workbench.figures.palette import DECODER_VARIANTS
from workbench.runs import Artifact

DECODER, *CONTROLS = DECODER_VARIANTS
_STRETCH = 300  # bins in one picture
_PICTURES, _SMALL = 12, 96  # units that are drawn, and pixels
Periods = dict[str, float | None]


def page(chosen: Chosen) -> Page:
    """The page."""
    blocks: list[Block] = []
    for artifact in chosen.artifacts(POPULATION):
        decoding = read_decoding(artifact.path)
        for hook in decoding.results["hook"].unique():
            for title, periods in _sets(artifact, decoding).items():
                name = f"{artifact.name}, {hook}, {title}"
                blocks.append(Section(name, _together(decoding, hook, title, periods, name)))
    return Page(folder_of(POPULATION), VIEWS[POPULATION].title, blocks=blocks, view=POPULATION)


def _sets(artifact: Artifact, decoding: Decoding) -> dict[str, Periods]:
    """What was decoded together, by its title, with the period of each variable."""
    config = artifact.manifest.config
    known = set(decoding.results["output"])
    asked = [{name: config["circular"].get(name) for name in one.split(", ")} for one in config["variables"]]
    return {", ".join(one): one for one in asked if known & set(one)}


def _together(decoding: Decoding, hook: str, title: str, periods: Periods, name: str) -> list[Block]:
    """Scores, estimates and maps of variables that were decoded together at one hook."""
    lines, decoded = (
        of[(of["hook"] == hook) & of["output"].isin(list(periods))] for of in (decoding.results, decoding.decoded)
    )
    measure: Measure = next(measure for measure in MEASURES if measure in lines)
    charts: list[Block] = [
        Picture(decoding_scores(own, measure), own, f"scores {name} {output}", f"{output}. Bars are 95% intervals.")
        for output, own in lines.groupby("output", sort=False)
    ]
    blocks: list[Block] = [Halves(charts[::2], charts[1::2]), _table(lines, measure), *_notes(lines)]
    if len(decoded):
        best = _best(lines, measure, decoded["decoder"].unique().tolist())
        blocks.append(Folded("Decoded against true", _decoded(decoded, best, periods, name)))
    return [*blocks, *_units(decoding, hook, title, name)]


def _table(lines: pd.DataFrame, measure: Measure) -> Table:
    there = [name for name in CONTROLS if name in set(lines["variant"])]
    columns = [
        Column("variable", "text"),
        Column("decoder", "text"),
        Column(MEASURES[measure], "bar", "On held-out bins."),
        Column("95% interval"),
        *(Column(name) for name in there),
        Column("error", help="Root of the mean square; of angles the mean of its size."),
        Column("bound", help="The least error that these counts allow, by Cramér and Rao."),
        Column("95% covers", help="How often the truth lies in the decoder's own 95% band."),
        Column("p", help="How often the variable shifted in time is read as well."),
    ]
    rows = []
    for (output, decoder), group in lines.groupby(["output", "decoder"], sort=False):
        of = group.drop_duplicates("variant").set_index("variant")
        rows.append(
            [
                Cell(str(output)),
                Cell(str(decoder)),
                barred(_at(of, measure), 3),
                between(_at(of, f"{measure}_low"), _at(of, f"{measure}_high"), 3),
                *(told(_at(of, measure, variant), 3) for variant in there),
                told(_at(of, "error"), 3),
                told(_at(of, "bound"), 3),
                share(_at(of, "coverage")),
                chance(_at(of, "p_value")),
            ]
        )
    return Table(columns, rows)


def _at(of: pd.DataFrame, name: str, variant: str = DECODER) -> float:
    known = of[name].get(variant) if name in of else None
    return float("nan") if known is None else float(known)


def _notes(lines: pd.DataFrame) -> list[Block]:
    """What to mind, each sentence once, with those that it is true of."""
    noted = lines[lines["note"].fillna("") != ""]
    told_: list[Block] = []
    for note, group in noted.groupby("note", sort=False):
        of = [str(name) for name in group["decoder"].unique()]
        where = "" if len(of) == lines["decoder"].nunique() else f"{', '.join(of)}: "
        told_.append(Words(f"{where}{note}", "alert"))
    return told_


def _decoded(decoded: pd.DataFrame, decoder: str, periods: Periods, name: str) -> list[Block]:
    """The first stretch of what one decoder said."""
    own = decoded[decoded["decoder"] == decoder]
    shown = own.groupby("output", sort=False).head(_STRETCH)
    of = int(own.groupby("output").size().max())
    outputs = [output for output in periods if output in set(shown["output"])]
    some = f"The first {_STRETCH:,} of {of:,}" if of > _STRETCH else f"All {of:,}"
    others = decoded["decoder"].nunique() - 1
    besides = f" Estimates of {others} other decoders are not part of this site." if others else ""
    said = (
        f"{some} held-out bins of {decoder}, the decoder with the best scores; the band is where it believes the "
        f"truth to be with 95%.{besides}"
    )
    pictures: list[Block] = [
        Picture(
            decoded_trace(shown[shown["output"] == output], period=periods[output], title=output),
            own[own["output"] == output],
            f"trace {name} {output}",
        )
        for output in outputs
    ]
    linear = [output for output in outputs if periods[output] is None]
    squares: list[Block] = []
    if len(linear) >= 2:
        squares.append(Picture(decoded_path(shown, (linear[0], linear[1])), shown, f"path {name}"))
    for output in outputs:
        bins = shown[shown["output"] == output]
        squares.append(Picture(decoded_scatter(bins, title=output, size=240), bins, f"scatter {name} {output}"))
    return [Words(said), *pictures, Halves(squares[::2], squares[1::2])]


def _best(lines: pd.DataFrame, measure: Measure, decoders: list[str]) -> str:
    """Of the decoders whose estimates were kept the one with the best mean score."""
    own = lines[(lines["variant"] == DECODER) & lines["decoder"].isin(decoders)]
    means = own.groupby("decoder", sort=False)[measure].mean()
    return str(means.idxmin() if measure == "error" else means.idxmax()) if means.notna().any() else decoders[0]


def _units(decoding: Decoding, hook: str, title: str, name: str) -> list[Block]:
    """Every unit by its scores, and the maps of the best."""
    units = decoding.tuning[(decoding.tuning["hook"] == hook) & (decoding.tuning["variables"] == title)]
    if units.empty:
        return []
    scores = [
        column
        for column in units
        if column not in ("hook", "variables", "unit")
        and pd.api.types.is_numeric_dtype(units[column])
        and units[column].notna().any()
    ]
    ordered = units.sort_values(scores[0], ascending=False, kind="stable", na_position="last") if scores else units
    columns = [Column("unit"), *(Column(score.replace("_", " ")) for score in scores)]
    rows = [
        [Cell(f"{row['unit']}", by=int(row["unit"])), *(_score(score, row[score]) for score in scores)]
        for row in ordered.to_dict("records")
    ]
    table = Table(columns, rows, f"{len(rows):,} units", f"units {name}", sorts=True, tall=True)
    curves = decoding.curves.get((hook, title))
    if curves is None or len(curves.edges) > 2:
        return [Section("What each unit is tuned to", [table], small=True)]
    best = ordered.head(_PICTURES)
    names = [*title.split(", "), ""][:2]
    words = [
        f"unit {row['unit']}" + (f" · {number(row[scores[0]])}" if scores else "") for row in best.to_dict("records")
    ]
    maps = maps_table(curves.rates, curves.edges, best["unit"].tolist(), words)
    chart = rate_maps(
        maps, period=curves.period[0], names=(names[0], names[1]), value="mean" if curves.dt == 1 else "Hz", size=_SMALL
    )
    said = f"The first {len(best):,} of {len(rows):,} units of the table; grey: never visited."
    return [Section("What each unit is tuned to", [table, Picture(chart, maps, f"maps {name}", said)], small=True)]


def _score(name: str, value: float) -> Cell:
    """A unit's score, or the p-value of one."""
    return chance(value) if name.endswith("_p") else told(value, 3)
