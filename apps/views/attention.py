"""The attention page: all heads at a glance, one in large, and what is known of each beside its control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import streamlit as st
from jaxtyping import Float
from torch import Tensor

from apps import place, serve
from apps.choices import analyses, choose_analysis, segments
from apps.components.attention_text import attention_text
from apps.components.link_table import Cell, Column, link_table
from apps.components.pattern_grid import pattern_grid
from apps.layout import download, halves
from apps.messages import no_heads, no_subject, plain
from apps.place import Place
from apps.prompt_box import prompt_box, reads_text, with_start, words_of
from apps.text import escape_markdown, number
from apps.views import head_table
from workbench.attention.results import HeadSurvey
from workbench.figures.hook_names import short_hooks
from workbench.runs import Artifact

_GRID, _TEXT, _TABLE = "head_grid", "head_text", "head_keys"
_TYPED, _HELD_OUT = "typed text", "held out"
_LISTED = 8  # keys in the table


@dataclass(frozen=True)
class _Shown:
    """Patterns on the screen: by a hook's number its heads', with the words of both sides.

    Attributes:
        names: what each hook is called.
        patterns: by hook.
        queries, keys: the words of both sides; keys None where they are the queries.
        causal: whether no query looks at a later key.
    """

    names: Mapping[int, str]
    patterns: Mapping[int, Float[Tensor, "head query key"]]
    queries: Sequence[str]
    keys: Sequence[str] | None
    causal: bool


def show() -> None:
    """Draw the page."""
    here: Place = st.session_state["_place"]
    st.title("Attention", anchor=False)
    if no_subject(here.run):
        return
    subject = serve.model(here.run)
    if not any(name.endswith("hook_pattern") for name in subject.hook_dict):
        st.info(f"A {type(subject).__name__} like this has no attention: there are no heads to look at.")
        return
    found = analyses(here.run, "heads")
    artifact: Artifact | None = None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        if found:
            artifact = choose_analysis(found, "heads")
        survey = serve.heads(artifact) if artifact else None
        chosen = _choose_text(here, survey)
    if chosen is None:
        no_heads(here.run)
        return
    shown = _typed(here) if survey is None or chosen == _TYPED else _kept(here, survey, chosen)
    if shown is None:
        return
    layer, head = _head_in_url(shown)
    _patterns(shown, layer, head)
    if survey is None or artifact is None:
        no_heads(here.run)
        return
    if artifact.stale:
        st.caption(":material/history: Stale: something these scores were made from has changed since.")
    head_table.show(here, survey, artifact)
    download(survey.scores, "Scores as CSV", "head-scores")


def _choose_text(here: Place, survey: HeadSurvey | None) -> str | None:
    """What is read: a text that is typed, or one of the sequences that the survey kept; None where there is neither."""
    subject = serve.model(here.run)
    kept = [] if survey is None else [f"{_HELD_OUT} {i + 1}" for i in sorted({i for _, i in survey.patterns})]
    options = ([_TYPED] if reads_text(subject, say=False) else []) + kept
    if not options:
        return None
    return segments("Sequence", options, "sequence") if len(options) > 1 else options[0]


def _typed(here: Place) -> _Shown | None:
    """A text that is typed; None where it cannot be read, which is said."""
    text = prompt_box(here.run)
    try:
        reading = serve.reading(serve.model(here.run), None, text, here.run.find("model").id)
    except ValueError as error:
        plain(error)
        return None
    names = {layer: f"layer {layer}" for layer in reading.patterns}
    return _Shown(names, reading.patterns, words_of(reading), None, causal=True)


def _kept(here: Place, survey: HeadSurvey, chosen: str) -> _Shown:
    """One of the survey's sequences; where hooks look from and at different texts, those of one kind."""
    sequence = int(chosen.removeprefix(_HELD_OUT)) - 1
    sides = list(dict.fromkeys(survey.axes.values()))
    words = {("target", "target"): "to itself", ("target", "source"): "to the source", ("source", "source"): "encoder"}
    if len(sides) > 1:
        asked = segments("Attention", [words[side] for side in sides], "side")
        sides = [side for side in sides if words[side] == asked]
    queries, keys = sides[0]
    hooks = [hook for hook, axes in survey.axes.items() if axes == sides[0]]
    short = short_hooks([hook.removesuffix(".hook_pattern") for hook in hooks])
    plain_names = {i: f"layer {hook.split('.')[1]}" for i, hook in enumerate(hooks) if hook.startswith("blocks.")}
    names = plain_names if len(plain_names) == len(hooks) else dict(enumerate(short.values()))
    patterns = {i: survey.pattern(hook, sequence) for i, hook in enumerate(hooks)}
    ours, theirs = (with_start(here.run, survey.words_of(sequence, axis), axis) for axis in (queries, keys))
    other = None if queries == keys else theirs
    return _Shown(names, patterns, ours, other, causal=queries == keys == "target")


def _head_in_url(shown: _Shown) -> tuple[int, int]:
    """The head in large: the URL's, or the first."""
    layer, head = place.integer("layer"), place.integer("head")
    first = min(shown.patterns)
    if layer is not None and layer in shown.patterns and head is not None and 0 <= head < len(shown.patterns[layer]):
        return layer, head
    if "layer" in st.query_params or "head" in st.query_params:
        most = max(map(len, shown.patterns.values()))
        plain(
            ValueError(
                f"there is no such head here: layers are {min(shown.patterns)} to {max(shown.patterns)}, "
                f"heads 0 to {most - 1}."
            )
        )
    return first, 0


def _query_in_url(shown: _Shown) -> int:
    query, last = place.integer("token"), len(shown.queries) - 1
    return query if query is not None and 0 <= query <= last else last


def _patterns(shown: _Shown, layer: int, head: int) -> None:
    """Every head in small, one in large; the same head in the text itself, and its locked row as a table."""
    query = _query_in_url(shown)
    pattern = shown.patterns[layer][head]
    name = f"{shown.names[layer]}, head {head}"
    pattern_grid(
        shown.queries,
        shown.patterns,
        key=_GRID,
        layer=layer,
        head=head,
        query=query,
        keys=shown.keys,
        causal=shown.causal,
        names=shown.names,
        on_head=_follow_head,
        on_query=partial(_lock, _GRID),
    )
    left, right = halves(340)
    with left:
        st.subheader("Where it looks, in the text", anchor=False)
        attention_text(
            shown.queries, pattern, key=_TEXT, label=name, query=query, keys=shown.keys, on_query=partial(_lock, _TEXT)
        )
    with right:
        _locked(shown, pattern, name, query)


def _locked(shown: _Shown, pattern: Float[Tensor, "query key"], name: str, query: int) -> None:
    words = shown.queries if shown.keys is None else shown.keys
    st.subheader(f"{escape_markdown(name[0].upper() + name[1:])} at token {query}", anchor=False)
    weights = pattern[query, : query + 1] if shown.causal else pattern[query]
    best = weights.topk(min(_LISTED, len(weights)))
    columns = [Column("position"), Column("token", "token"), Column("weight", "bar-number")]
    rows = [
        [Cell(f"{at:,}"), Cell(words[at]), Cell(number(weight, 3), bar=weight)]
        for weight, at in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    link_table(columns, rows, key=_TABLE)


def _follow_head() -> None:
    layer, head = (int(i) for i in st.session_state[_GRID].head)
    place.put("layer", layer)
    place.put("head", head)


def _lock(key: str) -> None:
    place.put("token", int(st.session_state[key].query))


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
