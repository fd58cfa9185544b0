"""What lies beneath every figure: nothing while it is shut; its table, pictures and code for who opens it."""

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import altair as alt
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from apps import shown
from apps.told import Told, call, run_of
from workbench.figures import head_grid, token_pairs
from workbench.figures.exported import to_png, to_svg
from workbench.figures.slices import in_order, lines, rows, stretch
from workbench.runs import Run


def _page() -> None:
    import altair as alt
    import pandas as pd

    from apps import shown

    table = pd.DataFrame({"x": [1, 2], "y": ["a", "<b>"]})
    chart = alt.Chart(table).mark_bar().encode(x="x:Q", y="y:N")
    for name in ("one", "two"):
        shown.figure(chart, table, name=name, python=f"chart = {name!r}", alt=f"Bars of {name}")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that are made while a page runs."""
    noted: list[str] = []
    for name in ("to_svg", "to_png"):
        monkeypatch.setattr(shown, name, lambda chart, name=name: noted.append(name))
    return noted


@pytest.fixture
def page(made: list[str]) -> AppTest:
    app = AppTest.from_function(_page).run()
    assert not app.exception
    return app


def test_while_it_is_shut_nothing_is_made_and_nothing_sent(page: AppTest, made: list[str]) -> None:
    assert len(page.get("vega_lite_chart")) == 2
    assert made == []
    assert not page.get("download_button")
    assert not page.code
    assert not page.dataframe


def test_a_figure_says_in_words_what_it_shows(page: AppTest) -> None:
    assert [chart.proto.alt for chart in page.get("vega_lite_chart")] == ["Bars of one", "Bars of two"]


def test_once_open_it_offers_files_table_and_code_of_its_own_figure(page: AppTest) -> None:
    page.session_state["take_two"] = True
    page.run()
    assert not page.exception
    assert [button.proto.label for button in page.get("download_button")] == ["CSV", "SVG", "PNG"]
    assert [code.value for code in page.code] == ["chart = 'two'\n# chart.save('two.svg') writes it as a picture."]
    assert page.dataframe[0].value["y"].tolist() == ["a", "<b>"]


class TestFiles:
    @pytest.fixture
    def chart(self) -> alt.Chart:
        table = pd.DataFrame({"x": range(3), "y": ["a", "b", "<script>"]})
        return alt.Chart(table).mark_bar().encode(x="x:Q", y="y:N")

    def test_svg_holds_the_chart_and_png_is_one(self, chart: alt.Chart) -> None:
        svg = to_svg(chart)
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "&lt;script&gt;" in svg
        assert to_png(chart).startswith(b"\x89PNG")

    def test_a_table_of_many_lines_is_drawn_too(self) -> None:
        table = pd.DataFrame({"x": range(6000), "y": 1})
        assert "<svg" in to_svg(alt.Chart(table).mark_point().encode(x="x:Q", y="y:Q"))

    def test_a_csv_is_read_as_the_table_it_was(self) -> None:
        table = pd.DataFrame({"x": [0.1, 2.5], "text": ['a,"b"\n', "<c>"]})
        read = pd.read_csv(io.StringIO(table.to_csv(index=False)))
        pd.testing.assert_frame_equal(read, table)


class TestTold:
    """A value and its code are made by the same steps: whatever is told is what is there."""

    @pytest.fixture
    def table(self) -> Told:
        value = pd.DataFrame({"layer": [0, 0, 1], "head": [0, 1, 0], "value": [1.0, 2.0, 3.0]})
        code = "pd.DataFrame({'layer': [0, 0, 1], 'head': [0, 1, 0], 'value': [1.0, 2.0, 3.0]})"
        return Told(value, code, frozenset({"import pandas as pd"})).named("table")

    @pytest.mark.parametrize(
        "step",
        [
            lambda t: t.into(rows, layer=0),
            lambda t: t.into(rows, head=[1]).item("value"),
            lambda t: t.into(in_order, "layer", t.into(lines, 2, 1).item("layer")),
            lambda t: t.into(stretch, "layer", 1, 1).at("columns").do("tolist"),
            lambda t: t.at("shape").item(0),
        ],
    )
    def test_code_run_anew_gives_the_value(self, table: Told, step: Callable[[Told], Told]) -> None:
        told = step(table)
        names: dict[str, Any] = {}
        exec(told.python("found"), names)
        if isinstance(told.value, pd.DataFrame | pd.Series):
            assert names["found"].equals(told.value)
        else:
            assert names["found"] == told.value

    def test_what_a_file_says_gets_into_the_code_as_a_literal_alone(self, table: Told) -> None:
        wicked = "'); raise SystemExit('owned')  # \n\"\"\""
        told = table.into(rows, layer=[wicked])
        names: dict[str, Any] = {}
        exec(told.python("found"), names)
        assert names["found"].empty
        assert repr(wicked) in told.python("found")

    def test_so_does_the_path_of_a_run(self, tmp_path: Any) -> None:
        path = tmp_path / "it's'); raise SystemExit('owned')"
        Run.create(path)
        names: dict[str, Any] = {}
        exec(run_of(Run.open(path)).python("found"), names)
        assert names["found"].path == path.resolve()

    def test_a_value_without_a_literal_is_refused(self, table: Told) -> None:
        with pytest.raises(TypeError, match="has no literal"):
            table.into(rows, layer=object())

    def test_functions_are_imported_from_where_the_library_gives_them(self, table: Told) -> None:
        grid = table.into(head_grid, title="score", control="value")
        assert "from workbench.figures import head_grid\n" in grid.python("chart")
        with pytest.raises(ValueError, match="token_pairs"):
            call(token_pairs, table)


class TestSlices:
    @pytest.fixture
    def table(self) -> pd.DataFrame:
        return pd.DataFrame({"group": list("aabab"), "n": range(5)})

    def test_rows_are_those_with_the_values_or_one_of_several(self, table: pd.DataFrame) -> None:
        assert rows(table, group="a", n=[0, 3, 4])["n"].tolist() == [0, 3]
        with pytest.raises(ValueError, match="no column 'm': it has group, n"):
            rows(table, m=1)

    def test_a_stretch_is_counted_within_its_group(self, table: pd.DataFrame) -> None:
        assert stretch(table, "group", 1, 1)["n"].tolist() == [1, 4]
        assert stretch(table, "group", 2, 9)["n"].tolist() == [3]

    def test_an_order_keeps_lines_of_one_value_as_they_were(self, table: pd.DataFrame) -> None:
        assert in_order(table, "group", ["b", "a"])["n"].tolist() == [2, 4, 0, 1, 3]
