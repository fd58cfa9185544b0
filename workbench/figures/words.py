"""Tokens as figures and pages show them."""

from collections.abc import Sequence

BOS_WORD = "⟨start⟩"

_GLYPHS = {" ": "·", "\t": "→", "\n": "↵", "\r": "␍", "\u00a0": "⍽"}


def visible(token: str) -> str:
    """A token with its white space and control characters as glyphs: `·` space, `→` tab, `↵` new line."""
    return "".join(_GLYPHS.get(c) or (c if c.isprintable() else _control(c)) for c in token)


def from_start(words: Sequence[str]) -> list[str]:
    """Words of a sequence that BOS begins, which is shown as a word of ours."""
    return [BOS_WORD, *words[1:]] if words else []


def position_labels(tokens: Sequence[str]) -> list[str]:
    """Each position's label on an axis: its number, which tells the same word at two positions apart, and its word."""
    return [f"{at}  {visible(token)}" for at, token in enumerate(tokens)]


def _control(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"
