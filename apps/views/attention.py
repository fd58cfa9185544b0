"""The attention page: all heads at a glance, one in large, and what is known of each beside its control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import streamlit as st
import torch
from jaxtyping import Float
from torch import Tensor

from apps import place, serve, serve_results
from apps.choices import analyses, choose_analysis, segments
from apps.components.attention_text import attention_text
from apps.components.link_table import Cell, Column, link_table
from apps.components.pattern_grid import pattern_grid
from apps.layout import halves
from apps.messages import no_heads, no_subject, plain
from apps.place import Place
from apps.prompt_box import prompt_box, reads_text, with_start, words_of
from apps.text import escape_markdown, number
from apps.views import head_table, head_weights
from models.saving import checkpoint_steps
from workbench.attention.telling import Telling, telling_sequence
from workbench.experiments.heads_results import CONTROL, OWN, HeadSurvey, read_heads
from workbench.figures.hook_names import short_hooks
from workbench.runs import Artifact, Run

_GRID, _TEXT, _TABLE = "head_grid", "head_text", "head_keys"
_TYPED, _HELD_OUT = "typed text", "held out"
_LISTED = 8  # keys in the table
_PASSAGES, _POSITIONS = 32, 57  # held-out ones that are looked through, and how much of each
ATTENTION, MOVED, ROLLOUT = "attention", "value-weighted", "rollout"
_ROLLED = {"attention": "of attention", "value": "of what is moved"}
_SIDES = {("target", "target"): "to itself", ("target", "source"): "to the source", ("source", "source"): "encoder"}
_UNITS = {ATTENTION: "weight", MOVED: "of the longest", ROLLOUT: "share"}
_CAPTIONS = {
    MOVED: "How long a vector each key gives, ‖A v W_O‖, as a share of the longest here.",
    ROLLOUT: "How much of each position comes from each at the first layer, were attention and the stream all.",
}


@dataclass(frozen=True)
class _Shown:
    """Patterns on the screen: by a hook's number its heads', with the words of both sides.

    Attributes:
        names: what each hook is called.
        patterns: by hook.
        queries, keys: the words of both sides; keys None where they are the queries.
        causal: whether no query looks at a later key.
        sides: whose positions queries and keys are.
        drawn: attention itself, lengths of what it moves as shares of the longest, or rollouts: a line of each
            kind, the subject's and its control's side by side.
        columns: what stands side by side, where these are no heads.
        n_heads: how many heads each hook has, where patterns are not theirs.
    """

    names: Mapping[int, str]
    patterns: Mapping[int, Float[Tensor, "head query key"]]
    queries: Sequence[str]
    keys: Sequence[str] | None
    causal: bool
    sides: tuple[str, str] = ("target", "target")
    drawn: str = ATTENTION
    columns: tuple[str, str] | None = None
    n_heads: Mapping[int, int] | None = None

    @property
    def heads(self) -> Mapping[int, int]:
        """How many heads each hook has: `n_heads` where patterns are not theirs."""
        return self.n_heads or {layer: len(heads) for layer, heads in self.patterns.items()}


class _OwnText(NamedTuple):
    """A held-out passage, what a head shows in it, and of how many it was chosen."""

    text: str
    telling: Telling
    passages: int


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
        survey = serve_results.opened(artifact, read_heads) if artifact else None
        chosen = _choose_text(here, survey)
    if chosen is None:
        no_heads(here.run)
        return
    if survey is None or chosen == _TYPED:
        own = _own_text(here, survey) if survey else None
        shown = _typed(here, own)
    else:
        own, shown = None, _kept(here, survey, chosen)
    if shown is None:
        return
    layer, head = _head_in_url(shown, survey)
    _why(shown, survey, artifact, layer, head)
    if own and survey and own.text == st.session_state.get("prompt") and (layer, head) == _standout(shown, survey):
        _why_this_text(own)
    _patterns(shown, layer, head)
    if survey is None or artifact is None:
        no_heads(here.run)
        return
    if artifact.stale:
        st.caption(":material/history: Stale: something these scores were made from has changed since.")
    head_weights.show_head(here.run, artifact, survey, layer, head)
    head_table.show(here, survey, artifact)
    head_weights.show_subject(here.run, artifact, survey)


def _choose_text(here: Place, survey: HeadSurvey | None) -> str | None:
    """What is read: a text that is typed, or one of the sequences that the survey kept; None where there is neither."""
    subject = serve.model(here.run)
    kept = [] if survey is None else [f"{_HELD_OUT} {i + 1}" for i in sorted({i for _, i in survey.patterns})]
    options = ([_TYPED] if reads_text(subject, say=False) else []) + kept
    if not options:
        return None
    return segments("Sequence", options, "sequence") if len(options) > 1 else options[0]


def _own_text(here: Place, survey: HeadSurvey) -> _OwnText | None:
    """What the page opens on: a text on which the head that stands out most has something to show."""
    best = survey.standout()
    found = _telling_passage(here.run.find("model").id, best.hook, best.head, best.score, here.run)
    return _OwnText(*found) if found else None


@st.cache_data(max_entries=16, show_spinner="Looking for a text that shows it …")
def _telling_passage(model_id: str, hook: str, head: int, score: str, _run: Run) -> tuple[str, Telling, int] | None:
    data = serve.dataset(_run)
    held_out = data.sequences("test")
    if data.tokenizer is None or not len(held_out):
        return None
    passages = data.select(held_out[torch.linspace(0, len(held_out) - 1, min(_PASSAGES, len(held_out))).long()])
    with serve.ONE_READER:
        telling = telling_sequence(serve.model(_run), passages, hook, head, score, first=_POSITIONS)
    if telling is None:
        return None
    ids = passages.tokens[telling.sequence][passages.mask[telling.sequence]][1:_POSITIONS]
    return data.tokenizer.decode(ids.tolist(), skip_special_tokens=False), telling, len(passages)


def _typed(here: Place, own: _OwnText | None) -> _Shown | None:
    """A text that is typed; None where it cannot be read, which is said."""
    text = prompt_box(here.run, own.text if own else "")
    if own and text == own.text and not {"layer", "head", "token"} & set(st.query_params):
        place.put("token", own.telling.query)
    try:
        reading = serve.reading(serve.model(here.run), None, text, here.run.find("model").id)
    except ValueError as error:
        plain(error)
        return None
    names = {layer: f"layer {layer}" for layer in reading.patterns}
    shown = _Shown(names, reading.patterns, words_of(reading), None, causal=True)
    drawn = segments("Drawn", [ATTENTION, MOVED, ROLLOUT], "drawn")
    if drawn == ATTENTION:
        return shown
    moved, rollouts = serve.moved(here.run, tuple(reading.token_ids.tolist()))
    if drawn == MOVED:
        layers = {layer: moved[hook, 0] for layer, hook in zip(reading.patterns, (h for h, _ in moved), strict=True)}
        return _moved(shown, layers)
    return _rolled(here, shown, {(w, v): r for (_, w, v, _), r in rollouts.items()})


def _kept(here: Place, survey: HeadSurvey, chosen: str) -> _Shown:
    """One of the survey's sequences; where hooks look from and at different texts, those of one kind."""
    sequence = int(chosen.removeprefix(_HELD_OUT)) - 1
    sides = list(dict.fromkeys(survey.axes.values()))
    sides = list(dict.fromkeys([survey.axes[survey.standout().hook], *survey.axes.values()]))
    if len(sides) > 1:
        asked = segments("Attention", [_SIDES[side] for side in sides], "side")
        sides = [side for side in sides if _SIDES[side] == asked]
    queries, keys = sides[0]
    hooks = [hook for hook, axes in survey.axes.items() if axes == sides[0]]
    short = short_hooks([hook.removesuffix(".hook_pattern") for hook in hooks])
    plain_names = {i: f"layer {hook.split('.')[1]}" for i, hook in enumerate(hooks) if hook.startswith("blocks.")}
    names = plain_names if len(plain_names) == len(hooks) else dict(enumerate(short.values()))
    patterns = {i: survey.pattern(hook, sequence) for i, hook in enumerate(hooks)}
    ours, theirs = (with_start(here.run, survey.words_of(sequence, axis), axis) for axis in (queries, keys))
    other = None if queries == keys else theirs
    shown = _Shown(names, patterns, ours, other, queries == keys == "target", (queries, keys))
    values = survey.values or {}
    rolled = {
        (w, v): survey.rollout(a, w, v, i) for a, w, v, i in survey.rollouts or {} if (a, i) == (queries, sequence)
    }
    there = [MOVED] * all((hook, sequence) in values for hook in hooks) + [ROLLOUT] * bool(rolled and queries == keys)
    drawn = segments("Drawn", [ATTENTION, *there], "drawn") if there else ATTENTION
    if drawn == MOVED:
        return _moved(shown, {i: values[hook, sequence].float() for i, hook in enumerate(hooks)})
    return shown if drawn == ATTENTION else _rolled(here, shown, rolled)


def _moved(shown: _Shown, lengths: Mapping[int, Float[Tensor, "head query key"]]) -> _Shown:
    """Lengths of what heads move, of all layers on one scale."""
    longest = max(max(float(of.max()) for of in lengths.values()), 1e-12)
    return replace(shown, patterns={layer: of / longest for layer, of in lengths.items()}, drawn=MOVED)


def _rolled(here: Place, shown: _Shown, found: Mapping[tuple[str, str], Float[Tensor, "query key"]]) -> _Shown:
    """Rollouts, the control's beside the subject's."""
    kinds = [weights for weights in _ROLLED if (weights, OWN) in found]
    control = "before training" if 0 in checkpoint_steps(here.run.path) else "random weights"
    return replace(
        shown,
        names={i: f"rollout {_ROLLED[weights]}" for i, weights in enumerate(kinds)},
        patterns={i: torch.stack([found[w, OWN], found[w, CONTROL]]) for i, w in enumerate(kinds)},
        drawn=ROLLOUT,
        columns=("trained", control),
        n_heads=shown.heads,
    )


def _head_in_url(shown: _Shown, survey: HeadSurvey | None) -> tuple[int, int]:
    """The head in large: the URL's, or the one that stands out most, or the first."""
    layer, head, there = place.integer("layer"), place.integer("head"), shown.heads
    if layer is not None and layer in there and head is not None and 0 <= head < there[layer]:
        return layer, head
    if "layer" in st.query_params or "head" in st.query_params:
        plain(
            ValueError(
                f"there is no such head here: layers are {min(there)} to {max(there)}, "
                f"heads 0 to {max(there.values()) - 1}."
            )
        )
    best = None if survey is None else _standout(shown, survey)
    return best or (min(there), 0)


def _standout(shown: _Shown, survey: HeadSurvey) -> tuple[int, int] | None:
    """Where the head is that stands out most; None where attention of other sides is shown."""
    best = survey.standout()
    same = survey.axes[best.hook] == shown.sides
    return (head_table.number_of(best.hook, list(survey.axes), survey), best.head) if same else None


def _why(shown: _Shown, survey: HeadSurvey | None, artifact: Artifact | None, layer: int, head: int) -> None:
    """Why the page opens on this head, where it is the one that stands out most."""
    if survey is None or artifact is None or _standout(shown, survey) != (layer, head):
        return
    best, control = survey.standout(), head_table.control_of(artifact)
    name = escape_markdown(f"head {head} of {best.hook.removesuffix('.hook_pattern')}")
    score = head_table.titled(best.score)
    found = f"{score} on {best.text} text {number(best.value, 3)}, the control's best {number(best.control, 3)}"
    st.caption(
        f"The page opens on {name}, which stands out most of all from heads {control}: {escape_markdown(found)}."
        if best.beyond
        else f"No head stands out from heads {control}: {name} comes nearest ({escape_markdown(found)})."
    )


def _why_this_text(own: _OwnText) -> None:
    telling = own.telling
    st.caption(
        f"The text is, of {own.passages:,} held-out passages, the one in which it looks there most: with "
        f"{number(telling.share)} of its attention, over the {telling.queries:,} tokens that have such a place. "
        f"Token {telling.query} is one of them."
    )


def _query_in_url(shown: _Shown) -> int:
    query, last = place.integer("token"), len(shown.queries) - 1
    return query if query is not None and 0 <= query <= last else last


def _patterns(shown: _Shown, layer: int, head: int) -> None:
    """Every head in small, one in large; the same head in the text itself, and its locked row as a table."""
    query = _query_in_url(shown)
    if shown.columns:
        layer, head = _rollout_in_url(shown)
    pattern = shown.patterns[layer][head]
    name = f"{shown.names[layer]}, {shown.columns[head] if shown.columns else f'head {head}'}"
    if shown.drawn in _CAPTIONS:
        st.caption(_CAPTIONS[shown.drawn])
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
        columns=shown.columns,
        on_head=_follow_rollout if shown.columns else _follow_head,
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
    columns = [Column("position"), Column("token", "token"), Column(_UNITS[shown.drawn], "bar-number")]
    rows = [
        [Cell(f"{at:,}"), Cell(words[at]), Cell(number(weight, 3), bar=weight)]
        for weight, at in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    link_table(columns, rows, key=_TABLE)


def _rollout_in_url(shown: _Shown) -> tuple[int, int]:
    """Which rollout is in large, and whose."""
    kind, whose = place.integer("rolled") or 0, place.integer("whose") or 0
    return (kind, whose) if kind in shown.patterns and whose in (0, 1) else (0, 0)


def _follow_rollout() -> None:
    kind, whose = (int(i) for i in st.session_state[_GRID].head)
    place.put("rolled", kind)
    place.put("whose", whose)


def _follow_head() -> None:
    layer, head = (int(i) for i in st.session_state[_GRID].head)
    place.put("layer", layer)
    place.put("head", head)


def _lock(key: str) -> None:
    place.put("token", int(st.session_state[key].query))


if __name__ == "__main__":  # Streamlit runs a page's file as a script
    show()
