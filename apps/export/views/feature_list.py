"""The features that were chosen, in one table."""

from apps.export.blocks import Block, Cell, Column, Folded, Page, Picture, Table
from apps.export.cells import barred, change, share, told
from apps.export.chosen import FEATURES, VIEWS, Chosen, folder_of
from apps.feature_list import KIND_WORDS
from workbench.features.index.feature_index import FeatureIndex
from workbench.figures import density_histogram

_COLUMNS = [
    Column("#"),
    Column("name", "text", "The concept it detects best."),
    Column("fires most on", "token"),
    Column("F1", "bar", "Of the name, on held-out documents."),
    Column("best neuron", "bar", "F1 of the best single neuron for the same concept."),
    Column("gain", help="F1 of the feature less that of its best neuron."),
    Column("precision"),
    Column("recall"),
    Column("lift", help="Precision over the base rate."),
    Column("fires on", help="Share of the recorded tokens."),
    Column("max", help="Its largest activation."),
    Column("named by", "word"),
]


def page(chosen: Chosen, index: FeatureIndex) -> Page:
    """The page."""
    listed = index.table.assign(gain=index.table["f1"] - index.table["neuron_f1"])
    listed = listed.set_index("feature", drop=False).loc[list(chosen.features)]
    live = int((~index.table["dead"].astype(bool)).sum())
    labels = {feature: note.label for feature, note in chosen.written.items()}
    rows = [
        [
            Cell(f"{row['feature']}", href=address(row["feature"]), by=int(row["feature"])),
            Cell(row["name"], href=address(row["feature"])),
            Cell(row["top_tokens"]),
            barred(row["f1"]),
            barred(row["neuron_f1"], hue="neurons"),
            change(row["gain"]),
            told(row["precision"]),
            told(row["recall"]),
            told(row["lift"], 1),
            share(row["density"]),
            told(row["max"]),
            Cell(KIND_WORDS[row["kind"]]),
            *([Cell(labels.get(row["feature"], ""))] if chosen.written else []),
        ]
        for row in listed.to_dict("records")
    ]
    columns = [*_COLUMNS, *([Column("label", "prose", "What people call it.")] if chosen.written else [])]
    density = Picture(
        density_histogram(index.table),
        index.table[["feature", "density"]],
        "density",
        f"How often all {index.n_features:,} features fire: one that fires on almost every token, or on almost none, "
        "is seldom of use.",
    )
    blocks: list[Block] = [
        Table(columns, rows, "", "feature list", sorts=True, searches=True),
        Folded("How often they fire", [density]),
    ]
    return Page(
        folder_of(FEATURES),
        VIEWS[FEATURES].title,
        f"{len(rows):,} of {index.n_features:,} features: {chosen.how} · {live:,} live · {index.hook_name} · "
        f"{index.n_rows:,} recorded tokens · F1 is measured on documents that took no part in the naming",
        blocks,
        FEATURES,
    )


def address(feature: int) -> str:
    """A feature's page, from the site's folder."""
    return f"features/{int(feature)}.html"
