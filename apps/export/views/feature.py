"""One feature's own page."""

import pandas as pd

from apps.export.blocks import Block, Cell, Column, Fact, Facts, Halves, Hue, Page, Picture, Section, Table, Tabs, Words
from apps.export.cells import barred, count, share, told
from apps.export.chosen import FEATURES, Chosen
from apps.export.strips import strips
from apps.export.views.feature_list import address
from apps.feature_list import KIND_WORDS
from apps.text import number, percent, signed, visible
from workbench.features.index.feature_index import FeatureIndex, FeatureRecord
from workbench.figures import activation_histogram

_SHOWN = {"Strongest": "top", "From every band": "band", "Near misses": "near_miss"}
_ABOUT = {
    "band": "Drawn at random from each fifth of the range from 0 to its maximum.",
    "near_miss": "Contexts in which it came close to firing and did not; the number is its value before the cut.",
}
_DOCUMENTS = 20


def page(chosen: Chosen, index: FeatureIndex, at: int) -> Page:
    """The page of the feature that stands at this place among the chosen ones."""
    features = chosen.features
    feature = features[at]
    record = index.feature(feature)
    row = record.row
    kind = f" · named by {KIND_WORDS[row['kind']]}" if row["kind"] != "none" else ""
    blocks: list[Block] = []
    if note := chosen.written.get(feature):
        blocks += [Words(words, "plain") for words in (note.label, *note.note.splitlines()) if words]
    blocks.append(Facts(_measures(record)))
    if row["dead"]:
        blocks.append(Words("This feature never fires on the recorded text: it is dead.", "alert"))
    right = [_histogram(record), _logits(record), _tokens(record), _concepts(record), *_related(record, set(features))]
    blocks.append(Halves([_examples(index, record, feature), _documents(record)], right))
    return Page(
        address(feature),
        str(row["name"]),
        f"Feature {feature:,}{kind} · {index.path.name}",
        blocks,
        FEATURES,
        before=f"{features[at - 1]}.html" if at else "",
        after=f"{features[at + 1]}.html" if at + 1 < len(features) else "",
        at=f"{at + 1:,} of {len(features):,}",
    )


def _measures(record: FeatureRecord) -> list[Fact]:
    row = record.row
    sign = "−" if row["neuron_sign"] < 0 else "+"
    named = row["kind"] != "none"
    held_out = "Of the name, on documents that took no part in choosing it."
    best = "The single neuron, of either sign, that detects the same concept best."
    return [
        Fact("F1", number(row["f1"]), "", held_out, "trained"),
        Fact("Precision", number(row["precision"]), "", held_out, "trained"),
        Fact("Recall", number(row["recall"]), "", held_out, "trained"),
        Fact(
            "Lift", number(row["lift"], 1) + ("×" if named else ""), "", "Precision over the base rate.", hue="trained"
        ),
        Fact(
            "Best neuron's F1",
            number(row["neuron_f1"]),
            f"neuron {sign}{row['neuron']}" if named else "",
            best,
            "neurons",
        ),
        Fact("Gain over it", signed(row["f1"] - row["neuron_f1"])),
        Fact("Fires on", percent(row["density"]), "of tokens"),
        Fact("Maximum", number(row["max"])),
        Fact("Mean", number(row["mean"]), "where it fires"),
    ]


def _examples(index: FeatureIndex, record: FeatureRecord, feature: int) -> Section:
    parts = []
    for title, kind in _SHOWN.items():
        found = sorted(index.examples(feature, kind), key=lambda example: (-(example.band or 0), example.rank))
        about = [Words(_ABOUT[kind])] if kind in _ABOUT else []
        shown = strips(found, float(record.row["max"])) if found else Words("There is none of this kind.")
        parts.append(Section(title, [*about, shown], small=True))
    return Section("Where it fires", [Tabs("examples", parts)])


def _documents(record: FeatureRecord) -> Section:
    found = record.documents
    some = f"The {_DOCUMENTS} of {len(found):,}" if len(found) > _DOCUMENTS else f"The {len(found):,}"
    rows = [
        [
            Cell(row["doc"]),
            Cell("held out" if row["split"] == "test" else row["split"]),
            count(row["firings"]),
            share(row["density"]),
        ]
        for row in found.head(_DOCUMENTS).to_dict("records")
    ]
    columns = [Column("document", "text"), Column("split", "word"), Column("firings"), Column("share of its tokens")]
    return Section(
        "Documents it fires in", [Words(f"{some} in which it fires most often come first."), Table(columns, rows)]
    )


def _histogram(record: FeatureRecord) -> Section:
    edges, counts = record.histogram
    top = float(record.row["max"])
    bands = {f"{part:.0%}": top * part for part in (0.2, 0.4, 0.6, 0.8)} if counts.sum() else {}
    threshold = float(record.row["threshold"]) if record.row["kind"] != "none" else None
    table = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "firings": counts})
    caption = (
        f"{int(counts.sum()):,} firings. Dashes: the bands that examples are drawn from, in shares of the maximum."
    )
    chart = activation_histogram(edges, counts, bands, threshold)
    return Section("How strongly", [Picture(chart, table, "histogram", caption)])


def _logits(record: FeatureRecord) -> Section:
    title = "What it says next"
    if record.logits_up is None or record.logits_down is None:
        return Section(title, [Words("Its hook has no direct path to the logits.")])
    strongest = max(record.logits_up["logit"].abs().max(), record.logits_down["logit"].abs().max())
    columns = [Column("token", "token"), Column("logit", "bar", "Direct effect on the logit of the next token.")]
    sides: list[tuple[str, pd.DataFrame, Hue]] = [
        ("Raises", record.logits_up, ""),
        ("Lowers", record.logits_down, "neurons"),
    ]
    raised, lowered = (
        Table(
            columns,
            [
                [Cell(token), Cell(signed(value, 3), bar=abs(value) / max(strongest, 1e-9), hue=hue)]
                for token, value in zip(_glyphs(table["token"]), table["logit"], strict=True)
            ],
            caption,
        )
        for caption, table, hue in sides
    )
    return Section(title, [Halves([raised], [lowered])])


def _tokens(record: FeatureRecord) -> Section:
    columns = [Column("token", "token"), Column("firings"), Column("share", "bar"), Column("mean activation")]
    rows = [
        [Cell(token), count(row["count"]), Cell(percent(row["share"]), bar=row["share"]), told(row["mean"])]
        for token, row in zip(_glyphs(record.tokens["token"]), record.tokens.to_dict("records"), strict=True)
    ]
    return Section("Tokens it fires on", [Table(columns, rows, tall=len(rows) > 12)])


def _concepts(record: FeatureRecord) -> Section:
    title = "Concepts it detects"
    if record.concepts.empty:
        return Section(title, [Words("No concept found that it detects.")])
    columns = [
        Column("concept", "text"),
        Column("kind", "word"),
        Column("F1", "bar"),
        Column("best neuron", "bar"),
        Column("prec."),
        Column("recall"),
        Column("lift"),
    ]
    rows = [
        [
            Cell(row["concept"]),
            Cell(KIND_WORDS.get(row["kind"], row["kind"])),
            barred(row["f1"]),
            barred(row["neuron_f1"], hue="neurons"),
            told(row["precision"]),
            told(row["recall"]),
            told(row["lift"], 1),
        ]
        for row in record.concepts.to_dict("records")
    ]
    return Section(title, [Table(columns, rows)])


def _related(record: FeatureRecord, exported: set[int]) -> list[Section]:
    lists = [
        (record.neighbours, "cosine", "Decoder directions that point the same way"),
        (record.coactive, "jaccard", "Features that fire together with it"),
    ]
    tables = []
    for table, measure, caption in lists:
        rows = []
        for row in table.to_dict("records"):
            other = int(row["feature"])
            href = f"{other}.html" if other in exported else ""
            rows.append([Cell(f"{other}", href=href), Cell(row["name"], href=href), barred(row[measure])])
        tables.append(Table([Column("#"), Column("name", "text"), Column(measure, "bar")], rows, caption))
    return [Section("Its neighbours", [*tables, Words("Those without a link are not part of this site.")])]


def _glyphs(tokens: pd.Series) -> list[str]:
    return [visible(token) for token in tokens]
