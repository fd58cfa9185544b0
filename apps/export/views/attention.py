"""What heads look at: scores beside the control, patterns of the sequences that were kept, what weights tell."""

from collections.abc import Callable
from functools import partial

import pandas as pd

from apps.export import patterns
from apps.export.blocks import Block, Cell, Column, Folded, Halves, Page, Patterns, Picture, Section, Table, Tabs, Words
from apps.export.cells import barred, change, told
from apps.export.chosen import ATTENTION, VIEWS, Chosen, folder_of
from apps.text import number, visible
from workbench.experiments.heads_results import HeadSurvey, read_heads
from workbench.figures import alignment_map, composition_map, head_grid, head_scores
from workbench.figures.hook_names import head_names, short_hooks
from workbench.runs import Artifact, Run

_OF = {"untrained": "before training", "random weights": "with random weights"}
_TITLES = {"entropy": "entropy, bits", "distance": "mean distance, tokens"}
_WIDEST = 40  # heads whose composition is drawn
_MORE: dict[str, tuple[Column, Callable[[float], Cell]]] = {
    "copying": (
        Column("copying", help="Σ Re λ / Σ |λ| of its W_E W_V W_O W_U: 1 where tokens raise themselves."),
        partial(change, digits=3),
    ),
    "copying_percentile": (
        Column("percentile", help="Among random matrices of the same shapes."),
        partial(told, digits=1),
    ),
    "cost": (
        Column("loss without it", help="By how many nats the loss rises as it is ablated."),
        partial(change, digits=3),
    ),
    "random_cost": (
        Column("random direction", help="By how many as its output is moved as far elsewhere."),
        partial(change, digits=3),
    ),
}
START = "⟨start⟩"  # how BOS is shown


def page(chosen: Chosen) -> Page:
    """The page."""
    blocks: list[Block] = []
    for artifact in chosen.artifacts(ATTENTION):
        blocks += _survey(chosen.run, artifact)
    return Page(folder_of(ATTENTION), VIEWS[ATTENTION].title, blocks=blocks, view=ATTENTION)


def _survey(run: Run, artifact: Artifact) -> list[Block]:
    survey = read_heads(artifact.path)
    name, control = artifact.name, artifact.manifest.config["results"].get("control", "random weights")
    stale = " Stale: something these scores were made from has changed since." if artifact.stale else ""
    said = f"Survey {name}. Means over held-out sequences; beside them the same of heads {_OF[control]}.{stale}"
    blocks: list[Block] = [Words(said), Section("Attention of every head", _patterns(run, survey, name))]
    blocks.append(Section("What each head looks at", [Tabs(f"score-{name}", _scores(survey, control, name))]))
    if (costs := survey.costs()) is not None:
        blocks.append(_importance(costs, name))
    if survey.composition is not None:
        blocks.append(_composition(survey.composition, name))
    if survey.alignments is not None:
        blocks.append(_alignments(survey, survey.alignments, name))
    return blocks


def _patterns(run: Run, survey: HeadSurvey, name: str) -> list[Block]:
    """Every sequence that was kept; of hooks that look from and at different texts those of one kind together."""
    parts = []
    for sequence in sorted({i for _, i in survey.patterns}):
        for sides in dict.fromkeys(survey.axes.values()):
            hooks = [hook for hook, axes in survey.axes.items() if axes == sides]
            short = short_hooks([hook.removesuffix(".hook_pattern") for hook in hooks])
            plain = [f"layer {hook.split('.')[1]}" if hook.startswith("blocks.") else "" for hook in hooks]
            names = plain if all(plain) and len(set(plain)) == len(plain) else list(short.values())
            words = [with_start(run, survey.words_of(sequence, axis), axis) for axis in sides]
            layers = [
                (layer, [patterns.head(f"{layer}, head {i}", p) for i, p in enumerate(survey.pattern(hook, sequence))])
                for layer, hook in zip(names, hooks, strict=True)
            ]
            which = f"Sequence {sequence + 1}" + (
                f", {sides[0]} to {sides[1]}" if len(set(survey.axes.values())) > 1 else ""
            )
            causal = sides == ("target", "target")
            queries, keys = ([visible(word) for word in of] for of in words)
            parts.append(Section(which, [Patterns(which, queries, keys, layers, causal)], small=True))
    if not parts:
        return [Words("No sequence was kept.")]
    about = Words(
        "Rows are queries, columns the keys they look at; the darker, the more. Choose a head to see it in large."
    )
    return [about, Tabs(f"sequence-{name}", parts)]


def with_start(run: Run, words: list[str], axis: str = "target") -> list[str]:
    """Words of the run's sequences, with BOS, which those of tokens begin with, as it is shown."""
    data = next((artifact for artifact in run.artifacts() if artifact.kind == "dataset"), None)
    starts = axis == "target" and data is not None and data.manifest.config.get("bos") is not None
    return [START, *words[1:]] if starts and words else words


def _scores(survey: HeadSurvey, control: str, name: str) -> list[Section]:
    """A tab a score: every head beside the control, on each text that was read."""
    sections = []
    for score, own in survey.scores.groupby("score", sort=False):
        title = _TITLES.get(str(score), str(score).replace("_", " "))
        chart = Picture(head_scores(survey.scores, str(score)), own, f"scores {name} {score}")
        grids: list[Block] = [
            Picture(
                head_grid(of, title=title, names=("trained", control)),
                of,
                f"grid {name} {score} {text}",
                f"{text} text",
            )
            for text, of in own.groupby("text", sort=False)
        ]
        tables: list[Block] = [_table(survey, str(score), str(text)) for text in own["text"].unique()]
        sections.append(Section(title, [Halves([chart], grids), *_weighted(survey, str(score)), *tables], small=True))
    return sections


def _weighted(survey: HeadSurvey, score: str) -> list[Block]:
    """The score as it counts for the loss."""
    if survey.weighted is None:
        return []
    own = survey.weighted[survey.weighted["score"] == score]
    return [
        Words(
            f"On {line['text']} text, the mean over all heads, each weighed by what the loss rises by without it "
            f"({line['ablation']} ablation): {number(line['value'], 3)}; all weighed alike: "
            f"{number(line['unweighted'], 3)}; control heads: {number(line['control'], 3)}."
        )
        for line in own.to_dict("records")
    ]


def _table(survey: HeadSurvey, score: str, text: str) -> Table:
    lines = survey.by_head(score, text)
    lines = lines.assign(name=head_names(lines))
    there = [name for name in _MORE if name in lines]
    columns = [
        Column("head", "word"),
        Column(score.replace("_", " "), "bar", "The bar is its share of the largest."),
        Column("control", help="The mean over the control's heads of the same layer."),
        Column("control's highest"),
        *(_MORE[name][0] for name in there),
    ]
    top = float(lines["value"].max())
    rows = [
        [
            Cell(line["name"]),
            barred(line["value"], 3, of=top),
            told(line["control"], 3),
            told(line["control_high"], 3),
            *(_MORE[name][1](line[name]) for name in there),
        ]
        for line in lines.to_dict("records")
    ]
    caption = f"{len(rows):,} heads on {text} text"
    return Table(columns, rows, caption, f"heads {score} {text}", sorts=True, tall=len(rows) > 16)


def _importance(costs: pd.DataFrame, name: str) -> Section:
    kind = costs["ablation"].iloc[0]
    chart = head_grid(
        costs,
        value="cost",
        control="random_cost",
        title=f"rise of the loss, nats ({kind} ablation)",
        names=("ablated", "random direction"),
        signed=True,
    )
    return Section("What it costs to lose it", [Picture(chart, costs, f"importance {name}")])


def _composition(table: pd.DataFrame, name: str) -> Section:
    said = (
        "How much of what an earlier head writes a later one reads as query, key or value, from the weights; less the "
        "mean of random matrices of the same shapes."
    )
    wide = table["to_head"].nunique() * table["to_layer"].nunique() > _WIDEST
    kinds = [table[table["kind"] == kind] for kind in table["kind"].unique()] if wide else [table]
    pictures: list[Block] = [
        Picture(composition_map(of), of, f"composition {name} {at}", said) for at, of in enumerate(kinds)
    ]
    return Section("Which heads read which", pictures)


def _alignments(survey: HeadSurvey, table: pd.DataFrame, name: str) -> Section:
    pictures: list[Block] = []
    for (sequence, hook, head), own in table.groupby(["sequence", "hook", "head"], sort=False):
        words = [survey.words_of(int(sequence), axis) for axis in ("target", "source")]
        title = f"Sequence {int(sequence) + 1}, {hook} head {head}"
        pictures.append(Picture(alignment_map(own, *words), own, f"alignment {name} {title}", title))
    blocks: list[Block] = []
    if survey.aligned is not None:
        best = survey.aligned.sort_values("argmax", ascending=False).groupby("variant", sort=False).head(1)
        shares = [f"{line['variant']} {number(line['argmax'], 3)}" for line in best.to_dict("records")]
        blocks.append(
            Words(
                "Dots: where it should look. How often the place most looked at is right, over all held-out sequences: "
                f"{', '.join(shares)}."
            )
        )
    return Section("What the decoder looks at in the source", [*blocks, Folded("Alignments", pictures)])
