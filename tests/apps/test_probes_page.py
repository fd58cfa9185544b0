"""The probes page without a browser: the heat map, the table of labels, one label's own page, what is missing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from test_views import component, copied, opened, unescaped_tags, words
from tiny_run import WICKED

from workbench.probing import best_beyond_word, read_results
from workbench.runs import Run

LAST = "blocks.1.hook_resid_post"

ARTIFACT = "probed/probes/two"


@pytest.fixture
def results(runs_root: Path) -> pd.DataFrame:
    return read_results(Run.open(runs_root / "probed").find("probes").path)


def charts(app: AppTest) -> list[dict[str, Any]]:
    """What Vega was given, without the data."""
    return [json.loads(chart.proto.spec) for chart in app.get("vega_lite_chart")]


def scale_of(app: AppTest) -> tuple[str, list[float]]:
    """What the first chart's colours are of, and their domain."""
    colour = charts(app)[0]["layer"][0]["encoding"]["color"]
    return colour["legend"]["title"], colour["scale"]["domain"]


@pytest.mark.usefixtures("explorer_environment")
class TestAllLabels:
    def test_labels_stand_by_what_is_beyond_the_word_and_lead_to_their_pages(self, results: pd.DataFrame) -> None:
        best = best_beyond_word(results[results["probe"] == "logistic"])
        table = component(opened("probes", run="probed"), "link_table")
        assert [row[0]["text"] for row in table["rows"]] == best["label"].tolist()
        for row, (_, line) in zip(table["rows"], best.iterrows(), strict=True):
            assert float(row[2]["text"]) == pytest.approx(line["probe"], abs=6e-4)
            assert float(row[4]["text"]) == pytest.approx(line["type alone"], abs=6e-4)
            assert row[1]["text"] == line["hook"]
            assert "estimator=logistic" in row[0]["href"]
        assert "label=is_return" in next(row for row in table["rows"] if row[0]["text"] == "is_return")[0]["href"]

    def test_the_rows_that_were_read_are_told(self, results: pd.DataFrame) -> None:
        said = words(opened("probes", run="probed"))
        assert "2 labels × 2 hooks" in said
        assert f"fitted on {int(results['fit_rows'].max()):,} rows" in said
        assert "only where line >= 0" in said

    @pytest.mark.parametrize("score", ["balanced accuracy", "F1", "AUROC", "selectivity", "compression"])
    def test_every_score_is_drawn_beside_a_control_that_has_it(self, score: str) -> None:
        app = opened("probes", run="probed", score=score, beside="type alone")
        assert len(charts(app)) == 1
        assert scale_of(app)[0] == score
        beside = [group for group in app.button_group if group.label == "Beside the probe"]
        assert len(beside) == (score != "selectivity")
        assert all(("type alone" in group.options) == (score in ("balanced accuracy", "F1")) for group in beside)

    def test_a_choice_in_the_link_is_kept(self) -> None:
        app = opened("probes", run="probed", beside="control task", difference="true", estimator="means")
        assert app.selectbox(key="estimator").value == "means"
        low, _, high = scale_of(app)[1]
        assert low == -high < 0
        assert component(app, "link_table")["rows"][0][0]["href"].endswith("estimator=means&score=balanced+accuracy")

    def test_a_label_s_name_stays_text(self) -> None:
        app = opened("probes", run="probed")
        assert WICKED in [row[0]["text"] for row in component(app, "link_table")["rows"]]
        assert not unescaped_tags(app)


@pytest.mark.usefixtures("explorer_environment")
class TestOneLabel:
    def test_every_hook_stands_beside_every_control(self, results: pd.DataFrame) -> None:
        app = opened("probes", run="probed", label="is_return", probes="two", estimator="logistic")
        assert "is_return" in [title.value.replace("\\", "") for title in app.title]
        table = component(app, "link_table", "shuffled labels")
        assert [row[0]["text"] for row in table["rows"]] == ["hook_embed", LAST]
        mine = results[(results["label"] == "is_return") & (results["probe"] == "logistic")]
        for row in table["rows"]:
            of = mine[mine["hook"] == row[0]["text"]].set_index("variant")["balanced_accuracy"]
            names = ["probe", "type alone", "control task", "random subject", "shuffled labels", "majority"]
            shown = [float(row[i]["text"]) for i in (1, 3, 4, 5, 6, 7)]
            np.testing.assert_allclose(shown, of[names], atol=6e-4)
        sure = component(app, "link_table", "bits")
        assert all(cell["text"] != "–" for row in sure["rows"] for cell in row[1:5])
        facts = {f["label"]: f["value"] for f in component(app, "facts")["facts"]}
        assert float(facts["Balanced accuracy"]) == pytest.approx(best_beyond_word(mine)["probe"].item(), abs=6e-4)
        assert len(charts(app)) == 2, "hook by hook, and every estimator"

    def test_next_and_back(self, results: pd.DataFrame) -> None:
        first, second = best_beyond_word(results[results["probe"] == "logistic"])["label"]
        app = opened("probes", run="probed", label=first, estimator="logistic")
        next(b for b in app.button if b.label == "Next").click().run()
        assert app.query_params["label"] == second
        next(b for b in app.button if b.label == "All labels").click().run()
        assert "label" not in app.query_params
        assert "beyond the word alone" in words(app)

    def test_a_wicked_name_stays_text(self) -> None:
        app = opened("probes", run="probed", label=WICKED)
        assert WICKED in words(app)
        assert not unescaped_tags(app)

    def test_a_label_that_is_not_there_is_one_sentence(self) -> None:
        app = opened("probes", run="probed", label="<b>gone</b>")
        assert "No label '<b>gone</b>' was probed here" in words(app)
        assert not unescaped_tags(app)
        assert component(app, "link_table")["rows"]

    def test_why_a_control_is_missing_is_said(self, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        run = copied(ARTIFACT, runs_root, tmp_path, monkeypatch)
        table = run / "probes/two/result.parquet"
        found = pd.read_parquet(table)
        untrained = found["variant"] == "random subject"
        found.loc[untrained, found.select_dtypes("float").columns] = np.nan
        found.loc[untrained, "note"] = f"no rows of {WICKED} were given"
        found.assign(bits=np.nan, compression=np.nan).to_parquet(table)
        app = opened("probes", label="is_return")
        assert f"Random subject: no rows of {WICKED} were given." in words(app)
        assert not unescaped_tags(app)
        assert "Description lengths were left out" in words(app)

    def test_a_label_that_could_not_be_probed_says_why_and_nothing_else(
        self, runs_root: Path, tmp_path: Path, monkeypatch
    ) -> None:
        run = copied(ARTIFACT, runs_root, tmp_path, monkeypatch)
        table = run / "probes/two/result.parquet"
        found = pd.read_parquet(table)
        lost = found["label"] == "is_return"
        found.loc[lost, found.select_dtypes("float").columns] = np.nan
        found.loc[lost, "note"] = "no probe: the rows to judge by have one class only"
        found.to_parquet(table)
        app = opened("probes", label="is_return")
        assert [info.value.replace("\\", "") for info in app.info] == [
            "No probe: the rows to judge by have one class only."
        ]
        assert not charts(app)
        listed = component(opened("probes"), "link_table", "note")
        probed, unprobed = (row[-1]["text"] for row in listed["rows"])
        assert unprobed == "no probe: the rows to judge by have one class only"
        assert probed.startswith("only 2 groups to judge by")


class TestNothingThere:
    @pytest.mark.usefixtures("explorer_environment")
    @pytest.mark.parametrize(("run", "verbs"), [("tiny", ["probe"]), ("gru", ["harvest", "probe"])])
    def test_the_commands_are_named(self, runs_root: Path, run: str, verbs: list[str]) -> None:
        app = opened("probes", run=run)
        assert [code.value for code in app.code] == [
            "\n".join(f"workbench {verb} --run {runs_root / run}" for verb in verbs)
        ]
        assert not charts(app)

    @pytest.mark.usefixtures("explorer_environment")
    def test_a_run_of_tables_has_none(self) -> None:
        said = words(opened("probes", run="result"))
        assert "This run holds tables alone, and no subject." in said
        assert "workbench" not in said

    def test_what_is_no_table_of_probes_is_a_message(self, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        run = copied(ARTIFACT, runs_root, tmp_path, monkeypatch)
        pd.DataFrame({"x": [1]}).to_parquet(run / "probes/two/result.parquet")
        app = opened("probes")
        (error,) = app.error
        lacks = "it lacks hook, probe, positions, label, variant, balanced_accuracy, note."
        assert error.value.replace("\\", "").endswith(lacks)

    def test_ranges_of_positions_are_shown_one_at_a_time(
        self, runs_root: Path, tmp_path: Path, results: pd.DataFrame, monkeypatch
    ) -> None:
        run = copied(ARTIFACT, runs_root, tmp_path, monkeypatch)
        late = results.assign(positions="16–31", balanced_accuracy=1.0)
        both = pd.concat([results.assign(positions="1–15"), late])
        both.to_parquet(run / "probes/two/result.parquet")
        assert opened("probes").selectbox(key="positions").value == "1–15"
        table = component(opened("probes", positions="16–31"), "link_table")
        assert {row[2]["text"] for row in table["rows"]} == {"1.000"}

    def test_a_result_that_went_stale_says_so(self, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        run = copied(ARTIFACT, runs_root, tmp_path, monkeypatch)
        shutil.rmtree(run / "activations")
        assert "stale" in words(opened("probes"))
