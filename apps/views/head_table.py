"""What is known of every head, beside its controls: scores, importance, copying, composition, alignments."""

import streamlit as st

from apps import place
from apps.choices import segments, select
from apps.components.link_table import Cell, Column, link_table, opened, signed_cell
from apps.layout import halves
from apps.place import Place
from apps.shown import draw
from apps.text import number, signed
from apps.told import Told, read
from workbench.experiments.heads_results import HeadSurvey, read_heads
from workbench.figures import alignment_map, composition_map, head_grid, head_scores
from workbench.figures.hook_names import head_names
from workbench.figures.slices import rows
from workbench.runs import Artifact

_TABLE = "all_heads"
_LISTED, _HEIGHT = 144, 420
_OF = {"untrained": "before training", "random weights": "with random weights"}
_WIDEST = 40  # heads of each layer whose composition is drawn
_HEADS = 1000  # more than any layer has
_TITLES = {"entropy": "entropy, bits", "distance": "mean distance, tokens"}
_MOVED = {
    "shift": "share of attention moved elsewhere",
    "first": "share from the first position",
    "length": "length of what is moved",
}
_ASKS = {
    "previous_token": "Share of attention on the token before.",
    "first_token": "Share of attention on the first position.",
    "current_token": "Share of attention on the token itself.",
    "duplicate_token": "Share of attention on earlier occurrences of the token.",
    "induction": "Share of attention on what came after earlier occurrences of the token.",
    "matching_bracket": "Share of attention that a closing bracket gives to the one that opened it.",
    "open_bracket": "Share of attention, from inside brackets, on the innermost one that is open.",
    "local": "Share of attention on the token itself and those just before it.",
    "entropy": "How widely attention is spread: 0 bits is all on one token.",
    "distance": "How far back it looks on average.",
}
_MORE = {
    "copying": Column(
        "copying", "bar-number", "Σ Re λ / Σ |λ| of its W_E W_V W_O W_U: 1 where tokens raise themselves."
    ),
    "copying_percentile": Column("percentile", help="Among random matrices of the same shapes."),
    "cost": Column("loss without it", "bar-number", "By how many nats the loss rises as it is ablated."),
    "random_cost": Column("random direction", "bar-number", "By how many as its output is moved as far elsewhere."),
}


def show(here: Place, survey: HeadSurvey, artifact: Artifact) -> None:
    """Draw all that the survey holds."""
    scores, control = survey.scores, control_name(artifact)
    kept = read(here.run, artifact, "survey", read_heads, survey)
    standout = survey.standout()
    st.subheader("What each head looks at", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        known = {name.replace("_", " "): name for name in scores["score"].unique()}
        score = known[select("Score", list(known), standout.score.replace("_", " "), "score")]
        of_score = scores[scores["score"] == score]
        texts = of_score["text"].unique().tolist()
        texts = sorted(texts, key=lambda text: text != standout.text)
        text = segments("Text", texts, "text") if len(texts) > 1 else texts[0]
    title = titled(score)
    st.caption(
        f"{_ASKS.get(score, '')} Means over held-out sequences; grey, and on the right of the map: the same of heads "
        f"{control_of(artifact)}."
    )
    _weighted(survey, score, text)
    left, right = halves(380)
    with left:
        dots = kept.at("scores").into(head_scores, score, _chosen())
        draw(
            dots,
            kept.at("scores").into(rows, score=score),
            name="head-scores",
            alt=f"{title} of every head, on each text, beside heads {control_of(artifact)}",
        )
    with right:
        grid = kept.at("scores").into(rows, score=score, text=text)
        draw(
            grid.into(head_grid, title=title, names=("trained", control)),
            grid,
            name="head-grid",
            alt=f"Layers by heads: {title} on {text} text, beside heads {control_of(artifact)}",
        )
        _importance(kept)
    _table(here, survey, score, text)
    _moved(kept, control)
    _composition(kept)
    _alignments(kept)


def control_name(artifact: Artifact) -> str:
    """What a survey's heads are held against."""
    return str(artifact.manifest.config["results"].get("control", "random weights"))


def control_of(artifact: Artifact) -> str:
    """The same in a sentence, after the word heads."""
    return _OF[control_name(artifact)]


def titled(score: str) -> str:
    """A score's name with its unit."""
    return _TITLES.get(score, score.replace("_", " "))


def _weighted(survey: HeadSurvey, score: str, text: str) -> None:
    """The score as it counts for the loss."""
    if survey.weighted is None:
        return
    table = survey.weighted
    for line in table[(table["score"] == score) & (table["text"] == text)].to_dict("records"):
        st.caption(
            f"Mean over all heads, each weighed by what the loss rises by without it ({line['ablation']} ablation): "
            f"{number(line['value'], 3)}; all weighed alike: {number(line['unweighted'], 3)}; control heads: "
            f"{number(line['control'], 3)}."
        )


def _chosen() -> str | None:
    layer, head = place.integer("layer"), place.integer("head")
    return None if layer is None or head is None else f"{layer}.{head}"


def _importance(survey: Told) -> None:
    effects = survey.do("costs")
    if effects.value is None:
        st.caption("No head was ablated: the loss is not of tokens, or heads have no output of their own.")
        return
    kind = effects.value["ablation"].iloc[0]
    chart = effects.into(
        head_grid,
        value="cost",
        control="random_cost",
        title=f"rise of the loss, nats ({kind} ablation)",
        names=("ablated", "random direction"),
        signed=True,
    )
    words = f"Layers by heads: by how much the loss rises without each ({kind} ablation), beside random directions"
    draw(chart, effects, name="head-importance", alt=words)


def _table(here: Place, survey: HeadSurvey, score: str, text: str) -> None:
    """A line a head, linked to its patterns."""
    lines = survey.by_head(score, text)
    lines = lines.assign(name=head_names(lines))
    columns = [
        Column("head", "word"),
        Column(score.replace("_", " "), "bar-number", "The bar is its share of the largest."),
        Column("control", help="The mean over the control's heads of the same layer."),
        Column("control's highest"),
    ]
    there = [name for name in _MORE if name in lines]
    columns += [*(_MORE[name] for name in there), Column("")]
    top = max(float(lines["value"].max()), 1e-9)
    dearest = float(lines["cost"].abs().max()) if "cost" in lines else 0.0
    hooks, here_now = list(survey.axes), (place.integer("layer"), place.integer("head"))
    rows, ids = [], []
    for line in lines.head(_LISTED).to_dict("records"):
        at = (number_of(line["hook"], hooks, survey), int(line["head"]))
        cells = [
            Cell(line["name"], href=here.href(place.ATTENTION, layer=at[0], head=at[1])),
            Cell(number(line["value"], 3), bar=line["value"] / top),
            Cell(number(line["control"], 3)),
            Cell(number(line["control_high"], 3)),
        ]
        cells += [_told(name, line[name], dearest) for name in there]
        rows.append([*cells, Cell("shown" if at == here_now else "")])
        ids.append(at[0] * _HEADS + at[1])
    of = f"{min(len(lines), _LISTED):,} of {len(lines):,} heads"
    st.caption(f"A head's name shows it in large. {of}, on {text} text.")
    link_table(columns, rows, key=_TABLE, ids=ids, on_open=_open, height=_HEIGHT)


def _told(name: str, value: float, dearest: float) -> Cell:
    """What else is known of a head: what has a sign in its colour, costs to one scale."""
    if name == "copying_percentile":
        return Cell(number(value, 1))
    if name == "random_cost":
        return Cell(signed(value, 3), bar=abs(value) / max(dearest, 1e-12), hue="muted")
    return signed_cell(signed(value, 3), value, 1.0 if name == "copying" else dearest)


def number_of(hook: str, hooks: list[str], survey: HeadSurvey) -> int:
    """Which of the hooks whose queries and keys are of the same sides a hook is."""
    return [other for other in hooks if survey.axes[other] == survey.axes[hook]].index(hook)


def _open() -> None:
    found, _ = opened(_TABLE)
    place.put("layer", found // _HEADS)
    place.put("head", found % _HEADS)


def _moved(survey: Told, control: str) -> None:
    """What values change of where heads look."""
    if survey.value.moved is None:
        return
    st.subheader("What values change", anchor=False)
    names = {_MOVED[measure]: measure for measure in survey.value.moved["measure"].unique()}
    chosen = segments("Measure", list(names), "moved")
    own = survey.at("moved").into(rows, measure=names[chosen])
    chart = own.into(head_grid, title=chosen, names=("trained", control))
    draw(chart, own, name="head-moved", alt=f"Layers by heads: {chosen}, beside heads of the control")
    st.caption("Of the sequences that are kept, each key weighted by the length of what it gives, ‖A v W_O‖.")


def _composition(survey: Told) -> None:
    if survey.value.composition is None:
        return
    st.subheader("Which heads read which", anchor=False)
    table, all_kinds = survey.at("composition"), survey.value.composition
    if all_kinds["to_head"].nunique() * all_kinds["to_layer"].nunique() > _WIDEST:
        table = table.into(rows, kind=segments("Composition", all_kinds["kind"].unique().tolist(), "kind"))
    words = "Earlier heads by later heads: how much of what one writes the other reads as query, key or value"
    draw(table.into(composition_map), table, name="head-composition", alt=words)
    st.caption(
        "How much of what an earlier head writes a later one reads as query, key or value, from the weights; less the "
        "mean of random matrices of the same shapes."
    )


def _alignments(kept_survey: Told) -> None:
    survey: HeadSurvey = kept_survey.value
    table = survey.alignments
    if table is None:
        return
    st.subheader("What the decoder looks at in the source", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        kept = [str(i + 1) for i in sorted(table["sequence"].unique())]
        sequence = int(segments("Held-out sequence", kept, "aligned")) - 1
        pairs = table[["hook", "head"]].drop_duplicates().itertuples(index=False)
        hooks = {f"{hook} head {head}": (hook, head) for hook, head in pairs}
        first = next(iter(hooks))
        chosen = select("Head", list(hooks), first, "aligned_head") if len(hooks) > 1 else first
    hook, head = hooks[chosen]
    own = kept_survey.at("alignments").into(rows, sequence=sequence, hook=hook, head=int(head))
    words = [kept_survey.do("words_of", sequence, axis) for axis in ("target", "source")]
    seen = f"Target by source positions of held-out sequence {sequence + 1}: where {chosen} looks, and where it should"
    draw(own.into(alignment_map, *words), own, name="head-alignment", alt=seen)
    if survey.aligned is not None:
        best = survey.aligned.sort_values("argmax", ascending=False).groupby("variant", sort=False).head(1)
        shares = [f"{line['variant']} {number(line['argmax'], 3)}" for line in best.to_dict("records")]
        st.caption(
            "Dots: where it should look. How often the place most looked at is right, over all held-out sequences: "
            f"{', '.join(shares)}."
        )
