"""Text on its way to the screen."""

import math
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.text import escape_markdown, moment, number, percent, shell, signed, size, visible


def test_white_space_becomes_glyphs() -> None:
    assert visible("\n\t x") == "↵→·x"
    assert visible("\r\x00\x1b") == "␍␀␛"


@given(st.text())
def test_what_is_visible_has_no_control_character_and_no_space(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert " " not in shown
    assert len(shown) >= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[link](http://example.com)",
        "$x^2$",
        "`code`",
        ":material/home:",
        ":red[x]",
        "a->b",
    ],
)
def test_escaping_changes_only_what_is_not_seen(text: str) -> None:
    escaped = escape_markdown(text)
    assert re.sub(r"\\(.)", r"\1", escaped).replace("\u2060", "") == text
    # What Markdown could take for its own is escaped, and no icon or arrow can be found in what is left.
    assert not re.search(r"(?<!\\)[<>$`:\[\]()*_#|~]", escaped)
    left = re.sub(r"\\(.)", r"\1", escaped)
    assert not re.search(r":\w|->", left)


def test_escaping_leaves_plain_words_as_they_are() -> None:
    assert escape_markdown("in docstring and 1 of 3") == "in docstring and 1 of 3"
    assert "\u2060" not in escape_markdown("this token is: ' with', a-b")


@given(st.text())
def test_escaped_text_is_one_line(text: str) -> None:
    assert "\n" not in escape_markdown(text)


def test_numbers_are_grouped_and_carry_a_true_minus() -> None:
    assert number(1234567.891, 1) == "1,234,567.9"
    assert number(-0.5) == "−0.50"
    assert signed(0.25) == "+0.25"
    assert signed(-0.25) == "−0.25"
    assert number(math.nan) == number(None) == signed(math.nan) == "–"


@pytest.mark.parametrize(("share", "text"), [(0.5, "50%"), (0.012, "1.2%"), (0.00123, "0.12%"), (0, "0%"), (1, "100%")])
def test_percentages_keep_two_digits(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (24_000_000, "24 MB"), (3_200_000_000, "3.2 GB")],
)
def test_sizes(n_bytes: int, text: str) -> None:
    assert size(n_bytes) == text


def test_a_moment_is_told_in_utc_and_a_bad_one_is_a_dash() -> None:
    assert moment("2026-03-01T12:30:00Z") == "01 Mar 2026 12:30"
    assert moment("2026-03-01T12:30:00+02:00") == "01 Mar 2026 10:30"
    assert moment("yesterday") == "–"


def test_a_path_is_one_word_of_a_command() -> None:
    for path in ("runs/demo", "my runs/$(rm x)", "it's; here"):
        assert shlex.split(f"workbench train --run {shell(Path(path))}")[3:] == [path]
