"""The Python under a figure makes that figure: every one of every page is executed and held against what was drawn."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest
from test_views import charts, opened

from apps import shown


@dataclass(frozen=True)
class Offered:
    """What a page offers beneath one figure."""

    chart: Any
    table: pd.DataFrame
    python: str


PAGES: list[tuple[str, dict[str, str]]] = [
    ("attention", {"run": "circuits", "sequence": "held out 1"}),
    ("attention", {"run": "aligned"}),
]


@pytest.fixture
def offered(explorer_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Offered]]:
    """Open a page, and what it offers beneath its figures, by name."""

    def at(page: str, **parameters: str) -> dict[str, Offered]:
        found: dict[str, Offered] = {}

        def noted(chart: Any, table: pd.DataFrame, *, name: str, python: str) -> None:
            found[name] = Offered(chart, table, python)

        with monkeypatch.context() as patch:
            patch.setattr(shown, "taken_along", noted)
            app = opened(page, **parameters)
        assert len(found) >= len(charts(app)) or page == "population"
        return found

    return at


def made(python: str) -> Any:
    """The chart that code leaves."""
    names: dict[str, Any] = {}
    exec(compile(python, "<copied>", "exec"), names)
    return names["chart"]


def told(chart: Any) -> str:
    """All of a chart with its data; names that Altair counts up are told by where they first stand."""
    with alt.data_transformers.disable_max_rows():
        text = json.dumps(chart.to_dict(), sort_keys=True)
    known: dict[str, str] = {}
    return re.sub(r'"((?:param|view|concat)_\d+)', lambda m: '"' + known.setdefault(m[1], f"name{len(known)}"), text)


@pytest.mark.parametrize(
    ("page", "parameters"), PAGES, ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else value
)
def test_every_figure_is_made_again_by_its_code(page: str, parameters: dict[str, str], offered: Callable) -> None:
    found = offered(page, **parameters)
    assert found
    for name, figure in found.items():
        assert len(figure.table), name
        assert told(made(figure.python)) == told(figure.chart), name
