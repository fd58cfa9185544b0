"""The prompt lab's text, and another beside it: typed, read once, and shown token by token."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from apps import place, serve, serve_lab
from apps.components.session_link import session_link
from apps.components.token_strip import Hue, Note, Strip, token_strip
from apps.messages import no_feature, plain
from apps.place import Place
from apps.prompt_box import prompt_boxes, words_of
from apps.text import number, visible
from apps.words import titled
from workbench.features.columns import Dictionary
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.reading.changed import Pair, aligned, changed_tokens, counterpart
from workbench.features.reading.prompt import PromptReading

_FULL_LOSS = 6.0  # nats that get the full colour, so that texts can be compared by eye
_FULL_CHANGE = 3.0  # the same of a difference
UNCHANGED = 5e-4  # nats, less than is shown: rounding
_STRIP, _SECOND = "prompt_strip", "second_strip"


@dataclass(frozen=True)
class Lab:
    """What all panes of the page are about.

    Attributes:
        here: the run and the index.
        subject: the run's.
        index: the chosen index, where its features can be read off a typed text.
        feature: the one that colours the text.
        text, reading: the text.
        token: the locked token's position in it.
        text2, reading2: the text beside it; None where there is none.
        pairs: which token of the one stands for which of the other.
    """

    here: Place
    subject: Any
    index: FeatureIndex | None
    feature: int | None
    text: str
    reading: PromptReading
    token: int
    text2: str | None
    reading2: PromptReading | None
    pairs: list[Pair]

    @property
    def token2(self) -> int | None:
        """The locked token's position in the second text; None where it is not there."""
        return counterpart(self.pairs, self.token)

    @property
    def word(self) -> str:
        """The locked token as it is shown."""
        return words_of(self.reading)[self.token]

    @property
    def texts(self) -> dict[str, str]:
        """The texts as parameters of a link."""
        return {"prompt": self.text} | ({"prompt2": self.text2} if self.text2 else {})


def read(here: Place, subject: Any) -> Lab | None:
    """Draw the boxes and read what stands in them; None, once the page has said why, where the text cannot be read."""
    index, dictionary = _dictionary(here)
    text, text2 = prompt_boxes(here.run)
    key = f"{here.run.find('model').id} {index.id if index else ''}"
    reading_of: Callable[[str], PromptReading] = partial(
        serve.reading, subject, dictionary, key=key, hooks=serve_lab.kept_hooks(here.run, subject)
    )
    try:
        reading = reading_of(text)
    except ValueError as error:
        plain(error)
        return None
    reading2 = None
    if text2:
        try:
            reading2 = reading_of(text2)
        except ValueError as error:
            plain(ValueError(f"the second text: {error}"))
    feature = _feature_in_url(index)
    token = _token_in_url(reading, feature)
    pairs = aligned(reading, reading2) if reading2 else []
    return Lab(here, subject, index, feature, text, reading, token, text2, reading2, pairs)


def _dictionary(here: Place) -> tuple[FeatureIndex | None, Dictionary | None]:
    """The chosen index and its dictionary, where this reads a typed text; else the page says why not."""
    if here.index is None:
        return None, None
    index = serve.index(here.index)
    dictionary = serve.dictionary_of(here.run, index)
    if dictionary.cfg.kind == "crosscoder":
        st.caption("The chosen dictionary is a crosscoder, which reads several hooks at once: choose one of one hook.")
        return None, None
    return index, dictionary


def _feature_in_url(index: FeatureIndex | None) -> int | None:
    """The feature that colours the text, where the URL names one that exists."""
    feature = place.integer("f")
    if feature is None or index is None:
        return None
    if not 0 <= feature < index.n_features:
        no_feature(str(feature), index)
        return None
    return feature


def _token_in_url(reading: PromptReading, feature: int | None) -> int:
    """The locked token: the URL's, else where the chosen feature is strongest, else the last."""
    token = place.integer("token")
    if token is not None and 0 <= token < len(reading.tokens):
        return token
    if feature is not None and (values := _values_of(reading, feature)).max() > 0:
        return int(values.argmax())
    return len(reading.tokens) - 1


def _values_of(reading: PromptReading, feature: int) -> np.ndarray:
    """What one feature holds at each token."""
    return np.array(
        [float(v[f == feature].sum()) for f, v in zip(reading.features, reading.values, strict=True)], dtype=float
    )


def _called(index: FeatureIndex, feature: int) -> str:
    return titled(index.table.iloc[feature].to_dict(), index)


def show(lab: Lab) -> None:
    """Draw the text, and beneath it the second one."""
    _about(lab)
    hue: Hue = "loss"
    reading = lab.reading
    if lab.feature is None or lab.index is None:
        shown, label = reading.loss, "loss, nats"
        scale = max(_FULL_LOSS, float(np.nanmax(shown, initial=0.0)))
    else:
        shown, label, hue = _values_of(reading, lab.feature), _called(lab.index, lab.feature), "activation"
        scale = max(float(lab.index.table["max"].iloc[lab.feature]), float(shown.max()))
        if shown.max() <= 0:
            st.caption("It does not fire anywhere in this text.")
    strip = Strip(words_of(reading), shown, notes=[_notes(reading, i, hue != "loss") for i in range(len(shown))])
    token_strip([strip], key=_STRIP, label=label, scale=scale, hue=hue, chosen=lab.token, on_token=_lock)
    if lab.reading2 is not None:
        _second(lab, lab.reading2)


def _about(lab: Lab) -> None:
    n = len(lab.reading.tokens) - 1
    mean = float(lab.reading.loss[1:].mean()) if n else math.nan
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        facts = f"{n:,} tokens · mean loss {number(mean)} nats · coloured by"
        if lab.feature is None or lab.index is None:
            st.caption(f"{facts} loss", width="content")
            return
        st.caption(facts, width="content")
        session_link(
            f"{_called(lab.index, lab.feature)}: {lab.index.table['name'].iloc[lab.feature]}",
            lab.here.href(place.FEATURES, feature=lab.feature),
            partial(place.jump, place.FEATURES, feature=lab.feature),
            key="to_page",
        )
        st.button("loss instead", icon=":material/close:", type="tertiary", on_click=place.put, args=("f", None))


def _second(lab: Lab, reading2: PromptReading) -> None:
    """The second text, coloured by what became of each token's loss."""
    before = {other: one for one, other in lab.pairs if other is not None}
    tokens = changed_tokens(lab.reading, reading2)
    edited = int(tokens["edited"].sum())
    in_second = tokens[tokens["position2"].notna()].sort_values("position2")
    difference = in_second["difference"].mask(in_second["difference"].abs() < UNCHANGED, 0.0).to_numpy()
    total = f"{number(float(np.nanmean(reading2.loss)))} nats" if np.isfinite(reading2.loss).any() else "unknown"
    st.caption(
        f"The second text: {len(reading2.tokens) - 1:,} tokens, of which {edited:,} are not the first's · mean loss "
        f"{total} · coloured by the change of loss, blue where it rose, vermilion where it fell"
    )
    scale = max(_FULL_CHANGE, float(np.nanmax(np.abs(difference), initial=0.0)))
    notes = [
        [
            *_notes(reading2, i, True),
            ("in the first text", "", "rule"),
            ("token", "none" if (at := before[i]) is None else visible(words_of(lab.reading)[at]), "code"),
            ("loss", "–" if at is None else f"{number(lab.reading.loss[at], 3)} nats"),
        ]
        for i in range(len(difference))
    ]
    strip = Strip(words_of(reading2), difference, notes=notes)
    back = {str(other): one for other, one in before.items() if one is not None}
    token_strip(
        [strip],
        key=_SECOND,
        label="change of loss, nats",
        scale=scale,
        hue="signed",
        chosen=lab.token2,
        on_token=partial(_lock_second, back),
    )


def _notes(reading: PromptReading, at: int, with_loss: bool) -> list[Note]:
    """A token's hover note: its loss, unless that is what colours it, and what was expected after it."""
    lines: list[Note] = [("loss", f"{number(reading.loss[at], 3)} nats")] if with_loss else []
    if reading.predictions[at]:
        lines.append(("expected next", "", "rule"))
    return lines + [(visible(word), f"{p:.1%}", "code") for word, p in reading.predictions[at]]


def _lock() -> None:
    place.put("token", int(st.session_state[_STRIP].token))


def _lock_second(back: dict[str, int]) -> None:
    """A token of the second text locks the one of the first that it stands for, where there is one."""
    if (token := back.get(str(int(st.session_state[_SECOND].token)))) is not None:
        place.put("token", token)
