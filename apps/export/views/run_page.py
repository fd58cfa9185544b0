"""How the subject learned, its dictionary beside the controls, and what its features are named by."""

import json
from typing import Any

import pandas as pd

from apps.export.blocks import Block, Cell, Column, Halves, Page, Picture, Section, Table, Words
from apps.export.cells import barred, between, change, count, share, told
from apps.export.chosen import RUNS, VIEWS, Chosen, folder_of
from workbench.features.index.feature_index import FeatureIndex
from workbench.figures import concept_gain, dictionary_comparison, naming_fractions, training_curve
from workbench.figures.training_curve import losses_and_baselines
from workbench.runs import Artifact, Run

_CONCEPTS = 20  # in the figure; the table has all
# A dictionary's measures: the column, its heading, and what it means.
_METRICS = [
    ("l0", "L0", "Latents active at once."),
    ("explained_variance", "explained variance", "Share of the activations' variance that it rebuilds."),
    ("dead_fraction", "silent, held out", "Latents that fire on none of the held-out rows."),
    ("loss_recovered_zero", "loss recovered, zero", "Against putting zeros in place of the activations."),
    ("loss_recovered_mean", "loss recovered, mean", "Against putting their mean in place."),
]
_DRAWN = {
    "explained_variance": "explained variance",
    "loss_recovered_zero": "loss recovered (zero)",
    "loss_recovered_mean": "loss recovered (mean)",
}


def page(chosen: Chosen) -> Page:
    """The page."""
    blocks: list[Block] = []
    for artifact in chosen.artifacts(RUNS):
        if artifact.kind == "model":
            blocks += _training(artifact, chosen.run)
        elif artifact.kind == "sae":
            blocks += _dictionary(artifact)
    if chosen.index is not None:
        blocks += _naming(chosen.index)
        blocks += _concepts(chosen.index, set(chosen.features))
    return Page(folder_of(RUNS), VIEWS[RUNS].title, blocks=blocks, view=RUNS)


def _training(artifact: Artifact, run: Run) -> list[Block]:
    log = artifact.path / "metrics.jsonl"
    if not log.exists():
        return [Section("How it learned", [Words("No log of its training was kept.")])]
    table = pd.read_json(log, lines=True)
    losses, baselines = losses_and_baselines(table)
    if losses.empty:
        return [Section("How it learned", [Words("It was not trained: there is nothing to learn in it.")])]
    last = losses.groupby("split").last()["loss"].to_dict()
    unit = _unit_of_loss(run)
    rows = [[Cell(str(name)), told(value, 3)] for name, value in (last | baselines).items()]
    drawn = Picture(
        training_curve(losses, baselines, unit=unit),
        losses,
        "training",
        "The loss against training steps; dotted, what counting tokens, or pairs of them, would reach.",
    )
    ends = Table([Column(f"loss, {unit}", "text"), Column("at the end")], rows)
    return [Section("How it learned", [Halves([drawn], [ends])])]


def _unit_of_loss(run: Run) -> str:
    """What the loss counts, as far as the data's manifest says: a corpus is predicted token by token."""
    data = [artifact for artifact in run.artifacts() if artifact.kind == "dataset"]
    return "nats a token" if data and "task" not in data[0].manifest.config else "as trained"


def _dictionary(artifact: Artifact) -> list[Block]:
    file = artifact.path / "metrics.json"
    title = f"The dictionary beside its controls: {artifact.name}"
    if not file.exists():
        return [Section(title, [Words("It has not been measured: `workbench sae` measures those it trains.")])]
    metrics: list[dict[str, Any]] = json.loads(file.read_text("utf8"))
    columns = [Column("dictionary", "word"), *(Column(name, help=help_) for _, name, help_ in _METRICS)]
    rows = [
        [Cell(row["dictionary"]), *((told(row.get(k), 1) if k == "l0" else share(row.get(k))) for k, _, _ in _METRICS)]
        for row in metrics
    ]
    tidy = pd.DataFrame(
        [
            {"dictionary": row["dictionary"], "metric": name, "value": row[key]}
            for key, name in _DRAWN.items()
            for row in metrics
            if row.get(key) is not None
        ],
        columns=["dictionary", "metric", "value"],
    )
    picture = Picture(
        dictionary_comparison(tidy), tidy, f"dictionary {artifact.name}", "On documents it was not trained on."
    )
    return [Section(title, [Halves([picture], [Table(columns, rows)])])]


def _naming(index: FeatureIndex) -> list[Block]:
    naming = index.naming
    columns = [
        Column("dictionary", "word"),
        Column("named by", "word"),
        Column("live where named", help="Fire on any training token that names are chosen on."),
        Column("named", help="With F1 of one half or more and a lift of two or more, on held-out documents."),
        Column("share", "bar"),
        Column("median F1", "bar"),
    ]
    rows = [
        [
            Cell(row["dictionary"]),
            Cell("token set" if row["kind"] == "token" else row["kind"]),
            count(row["live"]),
            count(row["named"]),
            Cell(share(row["share"]).text, bar=row["share"]),
            barred(row["median_f1"]),
        ]
        for row in naming.to_dict("records")
    ]
    told_ = Words(
        "Names and thresholds are chosen on some documents and scored on others. Sets of tokens are counted apart: "
        "only what token identity does not explain is news."
    )
    picture = Picture(naming_fractions(naming), naming, "naming")
    return [Section("How many features have a name", [Halves([picture], [Table(columns, rows), told_])])]


def _concepts(index: FeatureIndex, exported: set[int]) -> list[Block]:
    concepts = index.concepts.sort_values("gain_low", ascending=False, kind="stable")
    if concepts.empty:
        return []
    columns = [
        Column("concept", "text"),
        Column("feature"),
        Column("F1", "bar"),
        Column("best neuron", "bar"),
        Column("PCA"),
        Column("random"),
        Column("token alone", help="F1 of knowing which token it is and nothing else."),
        Column("gain"),
        Column("95% interval", help="Of the gain, by bootstrap over held-out documents."),
    ]
    rows = []
    for row in concepts.to_dict("records"):
        feature = int(row["feature"])
        rows.append(
            [
                Cell(row["concept"]),
                Cell(f"{feature}", href=f"features/{feature}.html" if feature in exported else "", by=feature),
                barred(row["feature_f1"]),
                barred(row["neuron_f1"], hue="neurons"),
                told(row["pca_f1"]),
                told(row["random_f1"]),
                told(row["token_f1"]),
                change(row["gain"]),
                between(row["gain_low"], row["gain_high"]),
            ]
        )
    part = concepts.head(_CONCEPTS)
    some = f"The {len(part):,} surest of {len(concepts):,} are drawn; the table has all." if len(concepts) > 20 else ""
    said = f"The surest gain comes first. Upright strokes: what knowing the token alone gives. {some}"
    return [
        Section(
            "Concepts that have a feature of their own",
            [
                Picture(concept_gain(part), part, "concepts", said),
                Table(columns, rows, f"{len(rows):,} syntax concepts", "concept list", sorts=True, tall=True),
            ],
        )
    ]
