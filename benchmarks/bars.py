"""Rows of the table of `make bench`, each judged by its bar."""

from typing import Any


def row(
    name: str,
    value: float | None,
    unit: str,
    ratio: float | None = None,
    bar: float | None = None,
    *,
    at_most: bool = False,
) -> dict[str, Any]:
    """One row. The bar is the ratio's; the value's where there is no ratio; nothing is judged where there is no bar."""
    judged = value if ratio is None else ratio
    passed = None if bar is None or judged is None else (judged <= bar if at_most else judged >= bar)
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "ratio": ratio,
        "bar": None if bar is None else f"{'≤' if at_most else '≥'} {bar:g}",
        "passed": passed,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows one under the other."""
    for entry in rows:
        value = "–" if entry["value"] is None else _shown(entry["value"])
        ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.2f}"
        verdict = {True: "yes", False: "NO", None: ""}[entry["passed"]]
        print(f"{entry['name']:<64}{value:>15} {entry['unit']:<14}{ratio:>8}  {entry['bar'] or '':<8}{verdict}")


def _shown(value: float) -> str:
    return f"{value:.1e}" if 0 < abs(value) < 0.01 else f"{value:,.2f}"
