"""The page of all features: what a link asks for is listed, drawn and told of, and nothing is cut in silence."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from test_views import ENTRY, charts, component, copied, opened, unescaped_tags, words
from tiny_run import D_SAE, WICKED

import apps.feature_filters
from apps import shown
from workbench.features import FeatureIndex
from workbench.features.on_demand.feature_map_kept import keep_map, kept_map, map_name
from workbench.features.query.filters import Filters
from workbench.features.query.table import FeatureTable
from workbench.runs import Run


@pytest.fixture
def index(runs_root: Path) -> FeatureIndex:
    return FeatureIndex.open(Run.open(runs_root / "tiny").find("features").path)


@pytest.fixture(scope="module")
def mapped(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: `tiny` with its map."""
    path = shutil.copytree(runs_root / "tiny", tmp_path_factory.mktemp("mapped") / "tiny")
    keep_map(Run.open(path), Run.open(path).find("features"))
    return path.parent


@pytest.fixture(autouse=True)
def environment(explorer_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_NOTES", str(tmp_path / "notes.sqlite"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def table(app: AppTest) -> dict[str, Any]:
    return component(app, "link_table")


def ids(app: AppTest) -> list[int]:
    return table(app)["ids"]


def button(app: AppTest, key: str) -> Any:
    return next(b for b in app.button if b.key == key)


class TestFilters:
    @pytest.mark.parametrize(
        ("link", "filters"),
        [
            ({}, Filters()),
            ({"sort": "density", "reverse": "true"}, Filters(order="density", reverse=True)),
            ({"on": "return", "live": "false"}, Filters(token="return", live_only=False)),
            ({"around": "def return", "f1": ["0.25", "1.0"]}, Filters(context="def return", f1=(0.25, None))),
            ({"max_from": "0.5", "sort": "number"}, Filters(max=(0.5, None), order="number")),
            ({"in_documents": ["10%", "90%"], "kind": "token set"}, Filters(documents=(0.1, 0.9), kinds=("token",))),
        ],
    )
    def test_a_link_lists_what_it_asks_for(self, index: FeatureIndex, link: dict, filters: Filters) -> None:
        wanted = FeatureTable(index).choose(filters)["feature"].tolist()
        app = opened("features", **link)
        if wanted:
            assert ids(app) == wanted[:40]
        assert f"{len(wanted):,} of {D_SAE} features listed" in words(app)

    def test_a_statement_of_the_labels_is_chosen(self, index: FeatureIndex) -> None:
        query = FeatureTable(index)
        wanted = query.choose(Filters(concept=query.concepts[0]))
        app = opened("features", inside=query.concepts[0])
        assert ids(app) == wanted["feature"].tolist()[:40]
        assert "All scores are of the statement" in words(app)
        best = index.concepts.set_index("concept").loc[query.concepts[0]]
        beside = {fact["label"]: fact["value"] for fact in component(app, "facts")["facts"]}
        assert beside["Best neuron"] == f"{best['neuron_f1']:.2f}"
        assert beside["Best random direction"] == f"{best['random_f1']:.2f}"
        detectors = index.detectors[index.detectors["concept"] == query.concepts[0]].set_index("feature")
        first = dict(zip([c["label"] for c in table(app)["columns"]], table(app)["rows"][0], strict=True))
        of_it = detectors.loc[ids(app)[0]]
        assert first["F1"]["text"] == f"{of_it['f1']:.2f}", "of the statement, not of the feature's own name"
        assert first["support"]["text"] == f"{of_it['support']:,.0f}"
        assert first["best neuron"]["text"] == beside["Best neuron"]
        detected = detectors.index
        live = index.table[~index.table["dead"].astype(bool)]["feature"]
        assert set(detected) & set(live) <= set(wanted["feature"]), "whatever they are named for themselves"
        assert len(detected) > (index.table["name"] == query.concepts[0]).sum()

    def test_a_search_that_names_a_statement_leads_to_all_that_detect_it(self, index: FeatureIndex) -> None:
        app = opened("features", q="comment")
        button(app, "inside_in comment").click().run()
        assert app.query_params["inside"] == "in comment"
        assert ids(app) == FeatureTable(index).choose(Filters(concept="in comment"))["feature"].tolist()[:40]

    def test_an_example_finds_what_fires_on_it(self, index: FeatureIndex) -> None:
        app = opened("features", sample="def make_1(self, value):")
        assert len(ids(app)) > 0
        fits = [row[2]["text"] for row in table(app)["rows"]]
        numbers = [float(text.replace("−", "-")) for text in fits]
        assert numbers == sorted(numbers, reverse=True)
        assert "log-likelihood ratio" in words(app)

    def test_an_example_that_cannot_be_read_is_told_of_and_left_out(self) -> None:
        app = opened("features", sample="return " * 200)
        assert "The example is left out" in words(app).replace("\\", "")
        assert ids(app)

    def test_one_that_loosens_nothing_is_not_offered_and_one_that_does_says_how_much(self, index: FeatureIndex) -> None:
        app = opened("features", q="zzzz", sort="number")
        n = len(FeatureTable(index).choose(Filters()))
        assert "No feature passes these filters" in words(app)
        loosen = [b for b in app.button if (b.key or "").startswith("loosen_")]
        assert [b.key for b in loosen] == ["loosen_text", "loosen_all"]
        assert f"without it {n}" in loosen[0].label
        loosen[0].click()
        app.run()
        assert len(ids(app)) == min(40, n)

    def test_several_to_blame_are_all_cleared(self) -> None:
        app = opened("features", q="zzzz", on="nothing is this token")
        assert "loosen several" in words(app)
        button(app, "loosen_all").click()
        app.run()
        assert ids(app)

    def test_what_is_set_in_a_closed_fold_stands_above_the_list_and_goes_with_a_click(
        self, index: FeatureIndex
    ) -> None:
        app = opened("features", precision=["0.95", "1.0"], kind="token set")
        chips = {b.key: b.label for b in app.button if (b.key or "").startswith("chip_")}
        assert set(chips) == {"chip_kinds", "chip_live_only", "chip_precision"}
        assert chips["chip_precision"].replace("\\", "") == "precision at least 0.95"
        button(app, "chip_precision").click().run()
        app.run()
        wanted = FeatureTable(index).choose(Filters(kinds=("token",)))["feature"].tolist()
        assert ids(app) == wanted[:40]
        assert "precision" not in app.query_params

    def test_a_search_on_a_features_own_page_brings_the_list(self, index: FeatureIndex) -> None:
        app = opened("features", feature="3")
        assert not [c for c in app.caption if "features listed" in c.value]
        app.text_input(key="q").set_value("return").run()
        assert "feature" not in app.query_params
        assert ids(app) == FeatureTable(index).choose(Filters(text="return"))["feature"].tolist()[:40]

    def test_every_filter_can_be_loosened(self) -> None:
        respects = set(Filters().__dataclass_fields__) - {"order", "reverse"}
        assert respects | {"sample", "noted"} == set(apps.feature_filters.everything())


class TestTable:
    def test_rows_have_a_preview_of_their_strongest_example(self, index: FeatureIndex) -> None:
        shown = table(opened("features"))
        assert len(shown["previews"]) == len(shown["rows"]) <= 40
        for feature, preview in zip(shown["ids"], shown["previews"], strict=True):
            strongest = index.examples(feature, "top")[0]
            assert len(preview["tokens"]) == len(preview["shares"]) <= 19
            assert preview["title"].startswith(index.table["name"][feature])
            assert strongest.doc in preview["title"]
            assert max(preview["shares"]) == 100

    def test_the_keyboard_knows_where_the_pages_end(self) -> None:
        first = table(opened("features", live="false"))
        assert first["keys"] == {"search": "q", "before": False, "after": True}
        last = AppTest.from_file(str(ENTRY), default_timeout=60)
        last.switch_page("views/features.py")
        last.query_params |= {"live": "false", "page": "2"}
        last = table(last.run())
        assert last["keys"] == {"search": "q", "before": True, "after": False}
        assert len(first["ids"]) + len(last["ids"]) == D_SAE

    def test_the_order_of_a_link_is_the_headings(self) -> None:
        assert table(opened("features"))["sorted"] == ["most telling", True], "nothing is asked for that could fit"
        assert table(opened("features", on="return"))["sorted"] == ["best match", False]

    def test_heads_are_called_heads_and_have_no_map(
        self, runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = copied("tiny/features/small", runs_root, tmp_path, monkeypatch)
        manifest = run / "features" / "small" / "manifest.json"
        known = json.loads(manifest.read_text("utf8"))
        known["config"]["columns"] = "heads"
        manifest.write_text(json.dumps(known), "utf8")
        app = opened("features", view="Map", q="zzzz")
        assert app.title[0].value == "Heads"
        assert "No head passes these filters" in words(app)
        assert button(app, "chip_live_only").label == "live heads only"
        assert "Map" not in str([c.proto for c in app.get("button_group")])


class TestMap:
    @pytest.fixture
    def run(self, runs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
        path = shutil.copytree(runs_root / "tiny", tmp_path / "runs" / "tiny")
        monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path / "runs"))
        return Run.open(path)

    def test_it_is_made_where_it_is_asked_for_and_kept(self, run: Run) -> None:
        app = opened("features", view="Map")
        assert "was not made yet" in words(app)
        assert charts(app) == []
        next(b for b in app.button if b.label == "Make the map").click()
        app.run()
        assert not app.exception
        (drawn,) = (str(chart) for chart in charts(app))
        assert "neighbours kept" in drawn
        assert "how far apart islands lie" in words(app)
        index = run.refresh().find("features")
        assert kept_map(run, index) == run.path / "analyses" / map_name(index)
        assert run.refresh().find("analysis", map_name(index)).stale is False
        assert charts(opened("features", view="Map", map_colour="gain"))
        assert unescaped_tags(app) == []

    def test_a_run_that_may_only_be_read_has_it_in_the_cache(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workbench.features.on_demand.feature_map_kept.may_be_written", lambda run: False)
        app = opened("features", view="Map", q="#1")
        next(b for b in app.button if b.label == "Make the map").click()
        app.run()
        index = run.refresh().find("features")
        assert kept_map(run, index) == tmp_path / "cache" / "workbench" / "maps" / index.id
        assert not (run.path / "analyses").exists()
        assert charts(app)

    @pytest.mark.parametrize("link", [{}, {"q": "return"}, {"sample": "return self.total"}])
    def test_its_code_draws_it_again(self, mapped: Path, link: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(mapped))
        code: list[str] = []
        drawn: list[Any] = []

        def kept(chart: Any, table: pd.DataFrame, *, name: str, python: str) -> None:
            drawn.append(chart)
            code.append(python)

        monkeypatch.setattr(shown, "taken_along", kept)
        opened("features", view="Map", **link)
        there: dict[str, Any] = {}
        exec(code[-1], there)  # the code that the page offers to copy
        assert there["chart"].to_dict() == drawn[-1].to_dict()


def test_names_that_would_do_harm_are_shown_as_they_are(index: FeatureIndex) -> None:
    app = opened("features", on=WICKED, q=WICKED, around=WICKED, sample=WICKED)
    assert unescaped_tags(app) == []
    assert not app.exception


def test_the_whole_list_can_be_taken_along(index: FeatureIndex) -> None:
    chosen = FeatureTable(index).choose(Filters())
    assert isinstance(chosen, pd.DataFrame)
    assert {"feature", "name", "f1", "gain", "match"} <= set(chosen.columns)
