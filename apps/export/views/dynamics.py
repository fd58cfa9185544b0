"""Where a recurrent subject's states lead: portrait, spectrum, fixed points, gates, and units that tell a label."""

import numpy as np
import pandas as pd

from apps.export.blocks import Block, Cell, Column, Fact, Facts, Halves, Page, Picture, Section, Table, Words
from apps.export.cells import barred, count, told
from apps.export.chosen import DYNAMICS, VIEWS, Chosen, folder_of
from apps.text import number
from workbench.dynamics import Dynamics, read_dynamics
from workbench.figures import eigenvalue_table, gate_saturation, spectrum, state_portrait, unit_ablation, unit_scores
from workbench.figures.fixed_point_marks import SHAPES
from workbench.runs import Artifact

TRAINED, UNTRAINED = "trained", "untrained"
_SPECTRA = 60  # points whose eigenvalues are drawn
_NOT_LABELS = {"what", "variant", "path", "step", "point", "kind"}
_TESTED = {"n": "points", "first": "largest |λ|", "second": "second |λ|", "explained": "in their axes"}
_TESTED |= {"extent": "extent", "r": "r with the label", "gap": "largest gap", "winding": "winding"}
_TESTED |= {"radius_variation": "radius varies by"}


def page(chosen: Chosen) -> Page:
    """The page."""
    sections = []
    for artifact in chosen.artifacts(DYNAMICS):
        dynamics = read_dynamics(artifact.path)
        blocks: list[Block] = [Words(_about(artifact, dynamics)), _counts(dynamics)]
        blocks.append(Halves(*(_portrait(dynamics, variant, artifact.name) for variant in (TRAINED, UNTRAINED))))
        blocks += [_spectrum(dynamics, artifact.name), _points(dynamics), *_attractors(dynamics)]
        blocks += [*_gates(dynamics, artifact.name), *_cells(dynamics, artifact.name)]
        sections.append(Section(artifact.name, blocks))
    return Page(folder_of(DYNAMICS), VIEWS[DYNAMICS].title, blocks=sections, view=DYNAMICS)


def _about(artifact: Artifact, dynamics: Dynamics) -> str:
    points, config = dynamics.points, artifact.manifest.config
    said = [f"searched from {len(points.starts):,} starts", f"reading {config.get('input', 'zeros')}"]
    if points.n_lost:
        said.append(f"{points.n_lost:,} starts led to no point slow enough")
    if points.n_far:
        said.append(f"{points.n_far:,} too far away")
    if artifact.stale:
        said.append("stale: something it was made from has changed since")
    return " · ".join(said)


def _counts(dynamics: Dynamics) -> Facts:
    """How many points of each kind there are, the untrained subject's beside them."""
    counts = {name: own["kind"].value_counts() for name, own in dynamics.table.groupby("variant")}
    own, before = (counts.get(name, pd.Series(dtype=int)) for name in (TRAINED, UNTRAINED))
    beside = dynamics.untrained is not None
    return Facts(
        [
            Fact(kind, f"{own.get(kind, 0):,}", f"untrained {before.get(kind, 0):,}" if beside else "", hue="trained")
            for kind in SHAPES
            if own.get(kind, 0) or before.get(kind, 0)
        ]
    )


def _portrait(dynamics: Dynamics, variant: str, name: str) -> list[Block]:
    portrait = dynamics.portrait[dynamics.portrait["variant"] == variant]
    if portrait.empty:
        return []
    axes = [column for column in portrait if column.startswith("pc")]
    labels = [column for column in portrait if column not in _NOT_LABELS and column not in axes]
    table = dynamics.table[dynamics.table["variant"] == variant]
    chart = state_portrait(
        portrait,
        table,
        axes=(axes[0], axes[min(1, len(axes) - 1)]),
        label=labels[0] if labels else None,
        explained=dynamics.explained.get(variant),
    )
    paths = portrait.loc[portrait["what"] == "trajectory", "path"].nunique()
    coloured = f", coloured by {labels[0]}" if labels else ""
    said = (
        f"{paths:,} held-out sequences of the {variant} subject{coloured}. Full circles are stable; open ones saddles, "
        "with the number of modes that grow; crosses are slow points; orange lines leave saddles along modes that grow."
    )
    return [
        Section(
            f"Where states go: {variant}", [Picture(chart, portrait, f"portrait {name} {variant}", said)], small=True
        )
    ]


def _spectrum(dynamics: Dynamics, name: str) -> Section:
    both = [(TRAINED, dynamics.points), (UNTRAINED, dynamics.untrained)]
    tables = [eigenvalue_table(of.eigenvalues[:_SPECTRA].numpy(), of.kind[:_SPECTRA], n) for n, of in both if of]
    table = pd.concat(tables, ignore_index=True)
    most = max(len(of) for _, of in both if of)
    some = f" Of the {_SPECTRA} slowest points of {most:,}." if most > _SPECTRA else ""
    said = f"Eigenvalues of the step's Jacobian: outside the circle a mode grows.{some}"
    return Section("Spectra", [Picture(spectrum(table), table, f"spectrum {name}", said)], small=True)


def _points(dynamics: Dynamics) -> Section:
    columns = [
        Column("point"),
        Column("of", "word"),
        Column("kind", "word"),
        Column("speed q", help="½‖x − F(x)‖²: how far a step still moves it."),
        Column("unstable modes"),
        Column("largest |λ|"),
        Column("time constant", help="Of the slowest mode, in steps; negative where it grows, ∞ where it stays."),
        Column("cycles a step"),
        Column("non-normality"),
        Column("starts", "bar", "How many starts the search led here."),
    ]
    most = float(dynamics.table["basin"].max()) if len(dynamics.table) else 1.0
    rows = [
        [
            count(row["point"]),
            Cell(str(row["variant"])),
            Cell(str(row["kind"])),
            Cell(f"{row['q']:.1e}", by=float(row["q"])),
            count(row["n_unstable"]),
            told(row["modulus"], 4),
            Cell("∞" if np.isinf(row["time_constant"]) else number(row["time_constant"], 1), by=row["time_constant"]),
            told(row["frequency"], 3),
            told(row["non_normality"]),
            barred(row["basin"], 0, of=most),
        ]
        for row in dynamics.table.to_dict("records")
    ]
    caption = f"{len(rows):,} points, the slowest first"
    return Section("Fixed points", [Table(columns, rows, caption, "fixed points", sorts=True, tall=True)], small=True)


def _attractors(dynamics: Dynamics) -> list[Block]:
    table = dynamics.attractors
    if table.empty:
        return []
    known = [name for name in _TESTED if name in table and table[name].notna().any()]
    columns = [
        Column("test", "word"),
        Column("label", "text"),
        Column("of", "word"),
        *(Column(_TESTED[n]) for n in known),
    ]
    rows = [
        [
            Cell(str(row["test"])),
            Cell(str(row["label"] or "–")),
            Cell(str(row["variant"])),
            *(told(row[n], 3) for n in known),
        ]
        for row in table.to_dict("records")
    ]
    said = "Do the points lie along a line, or on a ring that is closed, evenly filled, and of one radius?"
    return [Section("A line, or a ring?", [Words(said), Table(columns, rows)], small=True)]


def _gates(dynamics: Dynamics, name: str) -> list[Block]:
    if dynamics.gates is None:
        return []
    pictures: list[Block] = []
    layers = dict.fromkeys(hook.rpartition(".")[0] for hook in dynamics.gates["hook"])
    for layer in layers:
        own = dynamics.gates[dynamics.gates["hook"].str.startswith(f"{layer}.") & (dynamics.gates["label"] == "all")]
        own = own.assign(gate=own["hook"].str.rpartition("hook_")[2])
        for variant, of in own.groupby("variant", sort=False):
            said = f"Each point is a unit of {layer}, {variant}, over {of['n'].max():,} held-out steps."
            pictures.append(Picture(gate_saturation(of), of, f"gates {name} {layer} {variant}", said))
    title = "How often gates are shut, and how often open"
    return [Section(title, [Halves(pictures[::2], pictures[1::2])], small=True)]


def _cells(dynamics: Dynamics, name: str) -> list[Block]:
    if dynamics.units is None:
        return []
    best = dynamics.units[dynamics.units["chosen"]]
    own = best[best["variant"] == TRAINED]
    said = (
        "For each label the best unit, chosen on some documents and judged on others; beside it the best unit for "
        "labels moved along in time, and the untrained subject's."
    )
    blocks: list[Block] = [
        Section("Units that tell a label", [Picture(unit_scores(best), best, f"units {name}", said)], small=True)
    ]
    if (table := dynamics.ablation) is not None:
        clamped = set(table.loc[table["variant"] == "unit", "unit"])
        known = own[own["label"].isin(set(table["label"])) & own["unit"].isin(clamped)]
        units = {str(label): int(unit) for label, unit in zip(known["label"], known["unit"], strict=True)}
        said = "How much the loss rises when a unit is clamped to its mean; grey: units drawn at random."
        picture = Picture(unit_ablation(table, units), table, f"clamped {name}", said)
        blocks.append(Section("What it costs to hold them still", [picture], small=True))
    return blocks
