"""Dates: what stands in the source is the date that the target says, and the spans are where it stands."""

import re
from contextlib import suppress
from datetime import datetime
from functools import cache

import numpy as np
import pytest
import torch
from labelled_examples import examples_of

from models.tasks import DateNormalisation

PATTERNS = [
    *("%d %B %Y", "%B %d, %Y", "%A, %d %B %Y", "%Y/%m/%d", "%b %d, %Y", "%d %b %Y", "%A, %B %d, %Y", "%d.%m.%Y"),
    *("%a %d %b %Y", "%d of %B %Y", "%d-%b-%Y", "%Y %B %d", "%A %d %B %Y"),
]
TASK = DateNormalisation()


@cache
def character_of() -> dict[int, str]:
    """What each source token id stands for, by asking `encode` what each character is."""
    known = {}
    for character in map(chr, range(32, 127)):
        with suppress(ValueError):
            known[int(TASK.encode([character])[0][0, 0])] = character
    return known


def text_of(ids: list[int]) -> str:
    return "".join(character_of()[i] for i in ids)


def parsed(text: str) -> set[str]:
    """Every date that `strptime` reads in a text, by whichever pattern fits; ordinals are stripped of their ending."""
    found = set()
    for pattern in PATTERNS:
        for plain in (text, re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", text)):
            try:
                found.add(datetime.strptime(plain, pattern).date().isoformat())
            except ValueError:
                continue
    return found


@pytest.fixture(scope="module")
def examples():
    return examples_of(TASK.dataset(300, seed=4))


def test_the_target_is_the_one_date_that_can_be_read_in_the_source(examples):
    for example in examples:
        (said,) = TASK.decode(torch.tensor([example.tokens]))
        assert parsed(text_of(example.source)) == {said}


def test_weekdays_are_those_of_the_date(examples):
    seen = 0
    for example in examples:
        text = text_of(example.source)
        (said,) = TASK.decode(torch.tensor([example.tokens]))
        weekday = "".join(c for c, row in zip(text, example.source_labels, strict=True) if row["part"] == "weekday")
        if weekday:
            seen += 1
            assert datetime.fromisoformat(said).strftime("%A").startswith(weekday)
            assert len(weekday) == 3 or weekday == datetime.fromisoformat(said).strftime("%A")
    assert seen > 30


def test_each_digit_is_read_off_the_span_that_holds_its_part(examples):
    for example in examples:
        text = text_of(example.source)
        said = datetime.fromisoformat(TASK.decode(torch.tensor([example.tokens]))[0])
        of_part = {"year": f"{said.year}", "month": f"{said.month}", "day": f"{said.day}"}
        assert example.labels[0] == {"part": None, "span_start": None, "span_end": None}
        # Token 1 is the first digit of the year, which BOS says; so token t says character t of the ISO date.
        parts = ["year"] * 3 + ["separator"] + ["month"] * 2 + ["separator"] + ["day"] * 2 + ["separator"] * 2
        assert [row["part"] for row in example.labels[1:]] == parts
        for row in example.labels[1:]:
            if row["part"] == "separator":
                assert row["span_start"] is row["span_end"] is None
                continue
            span = text[row["span_start"] : row["span_end"]]
            inside = {source_row["part"] for source_row in example.source_labels[row["span_start"] : row["span_end"]]}
            assert inside == {row["part"]}
            if span.isalpha():
                assert row["part"] == "month"
                assert said.strftime("%B").startswith(span)
            else:
                assert re.sub(r"\D", "", span).lstrip("0") == of_part[row["part"]]


def test_source_labels_mark_each_part_once(examples):
    for example in examples:
        parts = [row["part"] for row in example.source_labels]
        runs = [part for i, part in enumerate(parts) if part != "separator" and (i == 0 or parts[i - 1] != part)]
        assert sorted(set(runs) - {"weekday"}) == ["day", "month", "year"]
        assert len(runs) == len(set(runs))


def test_a_draw_tells_where_the_first_digit_is_read_too():
    drawn = TASK.draw(20, np.random.default_rng(0))
    assert (drawn.truth["part"][:, 0] == "year").all()
    assert (drawn.truth["span_end"][:, 0] - drawn.truth["span_start"][:, 0] == 4).all()


def test_every_day_in_every_format_fits_and_is_encoded():
    task = DateNormalisation(first_year=2023, last_year=2024)
    drawn = task.draw(20_000, np.random.default_rng(0))
    assert drawn.source.shape[1] == task.shape["n_ctx"]
    assert drawn.source_mask.sum(1).max() == task.shape["n_ctx"], "the longest date fills the context"
    assert len(set(task.decode(drawn.tokens))) == 365 + 366


def test_formats_and_years_are_the_difficulty():
    task = DateNormalisation(n_formats=1, first_year=1999, last_year=1999)
    for example in examples_of(task.dataset(50)):
        text = text_of(example.source)
        assert re.fullmatch(r"\d{1,2} [A-Z][a-z]+ 1999", text)
    shapes = {re.sub(r"[a-z]+", "a", re.sub(r"\d", "1", text_of(e.source))) for e in examples_of(TASK.dataset(300))}
    assert len(shapes) > 30


def test_decoding_stops_at_eos_and_encoding_refuses_what_is_in_no_date():
    ids = TASK.draw(1, np.random.default_rng(0)).tokens[0]
    assert TASK.decode(np.array([[*ids, 3, 3]])) == TASK.decode(ids[None])
    assert TASK.decode(np.array([[0, 2, 3]])) == ["12"]
    with pytest.raises(ValueError, match="no date has the character '!'"):
        TASK.encode(["3 May 1999!"])
    with pytest.raises(ValueError, match="the longest date has 40 characters: it must have from 1 to"):
        TASK.encode(["1" * 40])
    with pytest.raises(ValueError, match="the longest date has 0 characters"):
        TASK.encode([])
