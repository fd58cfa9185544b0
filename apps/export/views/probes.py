"""What can be read where: a heat map and a table of every result, and each label's scores hook by hook."""

import pandas as pd

from apps.export.blocks import Block, Cell, Column, Folded, Page, Picture, Section, Table, Words
from apps.export.cells import barred, between, chance, change, told
from apps.export.chosen import PROBES, VIEWS, Chosen, folder_of
from probes.report import CONTROL, PROBE, RANDOM, TYPE
from workbench.figures import probe_by_hook, probe_heatmap
from workbench.figures.probe_scores import SCORES, Score, measured
from workbench.probing import best_beyond_word, read_results
from workbench.runs import Artifact

_KEPT = ["label", "hook", "variant"]
_COLUMNS = [
    Column("label", "text"),
    Column("best at", "word", "The hook where the probe is furthest above what the word alone tells."),
    Column("probe", "bar", "Its balanced accuracy on held-out documents, at that hook."),
    Column("95% interval", help="Over documents."),
    Column("type alone", "bar", "Each word's most frequent label: what knowing the word tells."),
    Column("control task", help="Every word has one label, drawn at random: what a probe reaches by memory."),
    Column("random", help="The same rows of the network before its training."),
    Column("beyond", help="The probe's balanced accuracy less the word's (where there are no words, the majority's)."),
    Column("p", help="How often labels dealt out anew agree with the predictions as well."),
    Column("note", "prose"),
]
_DRAWN = 12  # labels whose curves are drawn


def page(chosen: Chosen) -> Page:
    """The page."""
    blocks: list[Block] = []
    for artifact in chosen.artifacts(PROBES):
        blocks += _result(artifact)
    return Page(folder_of(PROBES), VIEWS[PROBES].title, blocks=blocks, view=PROBES)


def _result(artifact: Artifact) -> list[Block]:
    results = read_results(artifact.path)
    blocks: list[Block] = []
    several = len(results["positions"].unique()) > 1
    for (positions, estimator), own in results.groupby(["positions", "probe"], sort=False, dropna=False):
        name = f"{artifact.name}, {estimator}" + (f", {positions}" if several else "")
        blocks.append(Section(name, _estimator(own, artifact, name)))
    return blocks


def _estimator(own: pd.DataFrame, artifact: Artifact, name: str) -> list[Block]:
    best = best_beyond_word(own)
    score: Score = next((score for score in SCORES if measured(own, score)), "accuracy")
    controls = [variant for variant in measured(own, score) if variant != PROBE]
    order = {label: at for at, label in enumerate(best["label"])}
    ordered = own.sort_values("label", key=lambda labels: labels.map(order), kind="stable")
    kept = [c for c in (*_KEPT, score, f"{score}_low", f"{score}_high", "note") if c in own]
    said = "A row a label, those furthest beyond the word alone first; a cross says why there is no number."
    heat = Picture(
        probe_heatmap(ordered, score, controls[0] if controls else None),
        ordered[kept],
        f"heat map {name}",
        f"{SCORES[score][0].upper()}{SCORES[score][1:]}. {said}",
    )
    rows = [_row(row) for row in best.to_dict("records")]
    about = "Balanced accuracy, where each label is read best."
    return [
        Words(_about(own, artifact)),
        heat,
        Section(
            "What is read beyond the word alone",
            [Words(about), Table(_COLUMNS, rows, "", f"labels {name}", sorts=True, searches=True)],
            small=True,
        ),
        *_by_hook(own, best, score, name),
    ]


def _by_hook(own: pd.DataFrame, best: pd.DataFrame, score: Score, name: str) -> list[Block]:
    """The curves of the labels that are read furthest beyond the word."""
    known = set(own.loc[own[score].notna() & (own["variant"] == PROBE), "label"])
    labels = [label for label in best["label"] if label in known]
    if not labels:
        return []
    kept = [c for c in ("hook", "variant", score, f"{score}_low", f"{score}_high") if c in own]
    pictures: list[Block] = [
        Section(
            str(label),
            [Picture(probe_by_hook(of, score), of[kept], f"by hook {name} {label}")],
            small=True,
        )
        for label in labels[:_DRAWN]
        for of in [own[own["label"] == label]]
    ]
    some = f"The {_DRAWN} furthest beyond the word of {len(labels)}" if len(labels) > _DRAWN else f"All {len(labels)}"
    note = Words(f"{some} labels; bands and upright strokes are 95% intervals over documents, of what has one.")
    return [Folded("Hook by hook, beside every control", [note, *pictures])]


def _about(own: pd.DataFrame, artifact: Artifact) -> str:
    lines = own[own["variant"] == PROBE]
    fit, held_out = (lines[name].max() for name in ("fit_rows", "held_out_rows"))
    told_ = [f"{lines['label'].nunique():,} labels × {lines['hook'].nunique():,} hooks"]
    if pd.notna(fit):
        told_.append(f"fitted on {fit:,.0f} rows, judged by {held_out:,.0f} of other documents")
    if where := artifact.manifest.config.get("where"):
        told_.append(f"only where {where}")
    if artifact.stale:
        told_.append("stale: something it was made from has changed since")
    return " · ".join(told_)


def _row(row: dict) -> list[Cell]:
    probed = pd.notna(row[PROBE])
    return [
        Cell(str(row["label"])),
        Cell(str(row["hook"]) if probed else "–"),
        barred(row[PROBE], 3),
        between(row["low"], row["high"]),
        barred(row[TYPE], 3, hue="muted"),
        told(row[CONTROL], 3),
        told(row[RANDOM], 3),
        change(row["beyond"], 3),
        chance(row["p_value"]),
        Cell(row["note"] or ""),
    ]
