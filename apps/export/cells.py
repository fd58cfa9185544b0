"""Numbers as cells: written as the explorer writes them, and sorted by what they are."""

from apps.export.blocks import Cell, Hue
from apps.text import number, p_value, percent, signed


def told(value: float | None, digits: int = 2) -> Cell:
    """A number."""
    return Cell(number(value, digits), by=_key(value))


def change(value: float | None, digits: int = 2) -> Cell:
    """A difference, with its sign."""
    return Cell(signed(value, digits), by=_key(value))


def chance(p: float | None) -> Cell:
    """A p-value."""
    return Cell(p_value(p), by=_key(p))


def share(value: float | None) -> Cell:
    """A share of one."""
    return Cell(percent(value), by=_key(value))


def count(value: int) -> Cell:
    """A whole number."""
    return Cell(f"{int(value):,}", by=int(value))


def barred(value: float | None, digits: int = 2, *, of: float = 1.0, hue: Hue = "") -> Cell:
    """A number beside a bar, which is full at `of`."""
    length = 0.0 if value is None or value != value else abs(value) / max(of, 1e-9)
    return Cell(number(value, digits), bar=length, hue=hue, by=_key(value))


def between(low: float | None, high: float | None, digits: int = 2) -> Cell:
    """An interval; an en dash where there is none."""
    if low is None or high is None or low != low or high != high:
        return Cell("–", by="")
    return Cell(f"{number(low, digits)} to {number(high, digits)}", by=float(low))


def _key(value: float | None) -> float | str:
    return "" if value is None or value != value else float(value)
