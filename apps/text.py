"""Text on its way to the screen: made visible, made harmless, made readable.

A token can be anything, `<script>` and `:material/home:` included. Components get corpus text as data and show it
through `textContent`; what goes into Markdown passes `escape_markdown`. Nothing of it goes into HTML.
"""

import math
import re
import shlex
from datetime import UTC, datetime

from workbench.figures.words import visible as visible

_WORD_JOINER = "\u2060"  # has no width and no glyph
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# What Streamlit looks for in the text that is left once Markdown's own escapes are undone: `:icon:`, `:red[`, `->`.
_SHORTHAND = re.compile(r":(?=\w)|[-<>=~](?=[-<>=~])")


def escape_markdown(text: object) -> str:
    """Text that Streamlit's Markdown shows as it is: no HTML, link, maths, code, icon, colour or emoji comes of it."""
    line = " ".join(str(text).splitlines()).replace("  ", "\u00a0 ").replace("  ", " \u00a0")
    return _PUNCTUATION.sub(r"\\\1", _SHORTHAND.sub(lambda found: found[0] + _WORD_JOINER, line))


def shell(text: object) -> str:
    """Anything as one word of a command to copy: blanks, quotes and `$` in a path are the path's."""
    return shlex.quote(str(text))


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands separators; an en dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference, with its sign."""
    text = number(value, digits)
    return text if value is None or math.isnan(value) or value < 0 else "+" + text


def p_value(p: float | None) -> str:
    """A p-value: three figures after the point, and none so small that it would be told as nothing."""
    return "< 0.001" if p is not None and p < 0.001 else number(p, 3)


def percent(share: float | None) -> str:
    """A share of one as a percentage with two significant digits or more."""
    if share is None or math.isnan(share):
        return "–"
    if share == 0:
        return "0%"
    digits = max(0, 1 - math.floor(math.log10(abs(share) * 100)))
    return f"{share:.{min(digits, 6)}%}"


def size(n_bytes: int) -> str:
    """Bytes in the unit that a person would choose."""
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def moment(stamp: str) -> str:
    """An ISO time as date and minute, in UTC."""
    try:
        return datetime.fromisoformat(stamp).astimezone(UTC).strftime("%d %b %Y %H:%M")
    except ValueError:
        return "–"
