"""The reproductions page: what was found below the root, by verdict; and what nobody has run yet."""

import shutil
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from test_views import component, opened, unescaped_tags, words
from tiny_run import WICKED, make_result_run

from workbench.reproductions import NAMES
from workbench.reproductions.base import publish_table
from workbench.runs import Run


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A quick reproduction with a figure, a full one that met all, and a folder that is none."""
    quick, full = tmp_path / "reproductions/flip_flop/quick", tmp_path / "reproductions/grokking/full"
    make_result_run(quick)
    table = pd.DataFrame({"component": [1, 2], "explained": [0.9, 0.1]})
    figure = alt.Chart(table).mark_bar().encode(x="component:N", y="explained:Q")
    publish_table(Run.open(quick), "portrait", table, {}, figure=figure)
    Run.create(full)
    rows = {"result": ["loss"], "published": ["0.1"], "ours": ["0.1"], "bar": ["< .2"]}
    rows |= {"passed": pd.array([True], "boolean")}
    config = {"title": "Grokking", "paper": "Power et al. 2022", "full": True, "made below": str(tmp_path)}
    publish_table(Run.open(full), "result", pd.DataFrame(rows), config)
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path))
    monkeypatch.delenv("WORKBENCH_EXPLORE_RUN", raising=False)
    return tmp_path


def results(app: AppTest) -> list[list[str]]:
    return [[cell["text"] for cell in row] for row in component(app, "link_table", "published")["rows"]]


def test_every_result_stands_beside_what_was_published(root: Path) -> None:
    app = opened("reproductions")
    assert sorted(row[1:6] for row in results(app)) == sorted(
        [
            ["accuracy", "solved", "0.995", "≥ .99", "met"],
            [WICKED, "0.5", "0.25", "> .4", "missed"],
            ["seconds", "", "12", "", "no bar"],
            ["loss", "0.1", "0.1", "< .2", "met"],
        ]
    )
    told = {fact["label"]: fact["value"] for fact in component(app, "facts", "bars met")["facts"]}
    assert told == {"reproductions": "2", "bars met": "2", "missed": "1", "no bar": "1"}
    assert not unescaped_tags(app)
    assert not app.error


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [({"bar": "missed"}, [WICKED]), ({"bar": "no bar"}, ["seconds"]), ({"size": "full"}, ["loss"])],
)
def test_a_link_holds_the_filter(root: Path, asked: dict[str, str], wanted: list[str]) -> None:
    assert [row[1] for row in results(opened("reproductions", **asked))] == wanted


def test_nothing_missed_among_full_ones_is_said(root: Path) -> None:
    assert "There are none of this kind." in words(opened("reproductions", bar="missed", size="full"))


def test_what_was_not_run_is_named_with_its_command(root: Path) -> None:
    rows = component(opened("reproductions"), "link_table", "workbench reproduce")["rows"]
    commands = [row[-1]["text"].split()[2] for row in rows]
    assert commands == [name for name in NAMES if name not in ("flip_flop", "grokking")]
    assert all(row[0]["text"] and row[1]["text"] for row in rows), "title and paper"


def test_one_of_them_shows_its_figures_and_the_way_to_its_run(root: Path) -> None:
    name = "reproductions/flip_flop/quick"
    app = opened("reproductions", reproduction=name)
    (figure,) = app.get("vega_lite_chart")
    assert figure.proto.alt == "A memory: portrait"
    (row,) = component(app, "link_table", '"run"')["rows"]
    assert row[0]["text"] == name
    assert "flip_flop" in row[0]["href"]
    app.session_state["take_figure-portrait"] = True
    names: dict[str, Any] = {}
    exec(app.run().code[0].value, names)
    assert names["chart"].to_dict()["encoding"]["y"]["field"] == "explained"
    assert not unescaped_tags(app)


def test_one_that_is_not_there_is_said_to_be(root: Path) -> None:
    said = words(opened("reproductions", reproduction=WICKED))
    assert f"There is no reproduction {WICKED} here." in said


def test_a_damaged_table_is_named_and_the_rest_shown(root: Path) -> None:
    broken = root / "reproductions/grokking/full/analyses/result/result.parquet"
    broken.write_bytes(b"no table")
    app = opened("reproductions")
    assert "is damaged" in words(app)
    assert len(results(app)) == 3


@pytest.mark.usefixtures("explorer_environment")
def test_a_folder_without_any_says_what_makes_one(
    runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs_root / "flip-flop", tmp_path / "flip-flop")
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path))
    app = opened("reproductions", run="flip-flop")
    assert "No published result has been re-made below this folder yet" in words(app)
    assert len(component(app, "link_table", "workbench reproduce")["rows"]) == len(NAMES)


def test_a_runs_own_page_counts_its_bars_and_leads_here(root: Path) -> None:
    app = opened(run="reproductions/flip_flop/quick")
    told = {fact["label"]: fact["value"] for fact in component(app, "facts", "missed")["facts"]}
    assert (told["met"], told["missed"], told["no bar"], told["size"]) == ("1", "1", "1", "quick")
    (row,) = component(app, "link_table", "published beside ours")["rows"]
    assert row[0]["href"].startswith("reproductions?")
