"""The population page without a browser: scores beside controls, decoded against true, units and their maps."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_views import charts, component, copied, opened, unescaped_tags, words
from tiny_run import WICKED

from workbench.decoding import Decoding, read_decoding
from workbench.runs import Run

HOOK = "blocks.0.rnn.hook_h"

ARTIFACT = "population/analyses/decode"


@pytest.fixture
def decoding(runs_root: Path) -> Decoding:
    return read_decoding(Run.open(runs_root / "population").find("analysis").path)


@pytest.mark.usefixtures("explorer_environment")
class TestScores:
    def test_every_decoder_stands_beside_every_control(self, decoding: Decoding) -> None:
        rows = component(opened("population", run="population"), "link_table", "random subject")["rows"]
        assert [(row[0]["text"], row[1]["text"]) for row in rows] == [
            ("x", "kalman"),
            ("y", "kalman"),
            ("x", WICKED),
            ("y", WICKED),
        ]
        of = decoding.results[decoding.results["hook"] == HOOK].set_index(["output", "decoder", "variant"]).sort_index()
        for row in rows:
            own = of.loc[(row[0]["text"], row[1]["text"])]
            shown = [float(cell["text"].replace("−", "-")) for cell in (row[2], *row[4:9])]
            r2 = own["r2"][["decoder", "random subject", "shuffled", "mean"]]
            np.testing.assert_allclose(shown[:4], r2, atol=6e-4)
            np.testing.assert_allclose(shown[4:], own.loc["decoder", ["error", "bound"]].astype(float), atol=6e-4)
            assert [cell["text"] for cell in row[9:]] == ["94%", "0.020"]

    @pytest.mark.parametrize(("measure", "title"), [("ρ", "ρ"), ("error", "error (mean absolute)")])
    def test_any_score_of_any_variable_is_drawn(self, measure: str, title: str) -> None:
        app = opened("population", run="population", variables="heading", measure=measure)
        scores = charts(app)[0]["layer"]
        assert scores[1]["encoding"]["x"]["title"] == title
        assert ("tick" in [layer["mark"]["type"] for layer in scores]) == (measure == "error")
        assert ("Cramér" in words(app)) == (measure == "error")

    def test_what_to_mind_is_said_once_and_stays_text(self) -> None:
        app = opened("population", run="population")
        assert [info.value.replace("\\", "") for info in app.info] == [f"Mind {WICKED}."]
        assert not unescaped_tags(app)
        assert WICKED in words(app), "the recording's name"

    def test_a_choice_of_another_run_is_not_held_against_this_one(self) -> None:
        app = opened("population", run="population", hook="gone", variables="gone", decoder="gone", measure="gone")
        assert app.selectbox(key="hook").value == HOOK
        assert len(component(app, "link_table", "random subject")["rows"]) == 4


@pytest.mark.usefixtures("explorer_environment")
class TestDecoded:
    def test_a_trace_a_variable_and_the_path_of_two(self) -> None:
        app = opened("population", run="population")
        marks = [[layer["mark"]["type"] for layer in spec["layer"]] for spec in charts(app)]
        assert marks.count(["rule", "rect", "line", "point"]) == 2
        assert marks.count(["rule", "line", "point"]) == 1
        assert "Held-out bins 1 to 300 of the 320 that were kept" in words(app)

    def test_stretches_are_turned_over_in_the_link(self) -> None:
        app = opened("population", run="population", stretch="2", variables="heading", decoder=WICKED)
        assert "Held-out bins 301 to 320 of the 320" in words(app)
        assert app.selectbox(key="decoder").value == WICKED

    def test_a_circular_variable_has_no_path_and_is_cut_at_its_period(self) -> None:
        app = opened("population", run="population", variables="heading")
        trace = next(
            s for s in charts(app) if [x["mark"]["type"] for x in s["layer"]] == ["rule", "rect", "line", "point"]
        )
        assert trace["layer"][2]["encoding"]["y"]["scale"]["domain"] == [0, 6]
        assert not any([x["mark"]["type"] for x in s["layer"]] == ["rule", "line", "point"] for s in charts(app))


@pytest.mark.usefixtures("explorer_environment")
class TestTuning:
    def units(self, decoding: Decoding, title: str = "x, y") -> pd.DataFrame:
        return decoding.tuning[(decoding.tuning["hook"] == HOOK) & (decoding.tuning["variables"] == title)]

    def test_units_stand_by_their_score_and_lead_to_their_own_picture(self, decoding: Decoding) -> None:
        app = opened("population", run="population")
        table = component(app, "link_table", "Skaggs")
        best = self.units(decoding).sort_values("r2", ascending=False)
        assert table["ids"] == best["unit"].tolist()
        assert f"Unit {best['unit'].iloc[0]}" in words(app)
        link = table["rows"][3][0]["href"]
        assert f"unit={best['unit'].iloc[3]}" in link
        assert "variables=x%2C+y" in link

    def test_any_score_sorts_either_way_from_the_link(self, decoding: Decoding) -> None:
        units = self.units(decoding)
        table = component(opened("population", run="population", by="information"), "link_table", "Skaggs")
        assert table["ids"] == units.sort_values("information", ascending=False)["unit"].tolist()
        table = component(
            opened("population", run="population", by="information", turned="true"), "link_table", "Skaggs"
        )
        assert table["ids"] == units.sort_values("information")["unit"].tolist()
        assert table["sorted"] == ["information", True]
        lowest = next(row for row in table["rows"])[3]
        assert lowest["hue"] == "neurons", "a number below zero has the colour of one"

    def test_one_unit_has_its_numbers_and_its_map(self, decoding: Decoding) -> None:
        app = opened("population", run="population", unit="5")
        row = self.units(decoding).set_index("unit").loc[5]
        shown = {f["label"]: f["value"].replace("−", "-") for f in component(app, "facts")["facts"]}
        assert float(shown["R² of its map"]) == pytest.approx(row["r2"], abs=6e-4)
        assert float(shown["information"]) == pytest.approx(row["information"], abs=6e-4)
        said = words(app)
        assert "Unit 5" in said
        assert "36 bins · 6 of them never visited: grey" in said
        maps = [spec for spec in charts(app) if [x["mark"]["type"] for x in spec["layer"]] == ["rect", "rect"]]
        assert len(maps) == 1 + 12
        assert maps[0]["layer"][1]["encoding"]["color"]["legend"]["title"] == "Hz"

    def test_a_direction_is_drawn_as_roses(self) -> None:
        app = opened("population", run="population", variables="heading", pictures="24")
        roses = [spec for spec in charts(app) if {x["mark"]["type"] for x in spec["layer"]} == {"arc"}]
        assert len(roses) == 1 + 14

    def test_a_unit_that_is_not_there_is_one_sentence(self) -> None:
        app = opened("population", run="population", unit="99")
        assert "There is no such unit here: they are numbered 0 to 13." in words(app)

    def test_units_that_were_left_out_are_missed(self, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        run = copied(ARTIFACT, runs_root, tmp_path, monkeypatch)
        table = run / "analyses/decode/tuning.parquet"
        pd.read_parquet(table).iloc[:0].to_parquet(table)
        assert "The units' maps were left out" in words(opened("population"))


class TestNothingThere:
    @pytest.mark.usefixtures("explorer_environment")
    @pytest.mark.parametrize(("run", "verbs"), [("probed", ["decode"]), ("gru", ["harvest", "decode"])])
    def test_the_commands_are_named(self, runs_root: Path, run: str, verbs: list[str]) -> None:
        app = opened("population", run=run)
        assert [code.value for code in app.code] == [
            "\n".join(f"workbench {verb} --run {runs_root / run}" for verb in verbs)
        ]

    @pytest.mark.usefixtures("explorer_environment")
    def test_a_run_of_tables_has_none(self) -> None:
        said = words(opened("population", run="result"))
        assert "This run holds tables alone, and no subject." in said
        assert "workbench" not in said

    @pytest.mark.parametrize("damage", ["result.parquet", "decoded.parquet", "maps.safetensors", "manifest"])
    def test_damage_is_a_message_and_other_pages_live(
        self, damage: str, runs_root: Path, tmp_path: Path, monkeypatch
    ) -> None:
        folder = copied(ARTIFACT, runs_root, tmp_path, monkeypatch) / "analyses/decode"
        if damage == "manifest":
            known = json.loads((folder / "manifest.json").read_text("utf8"))
            del known["config"]["variables"]
            (folder / "manifest.json").write_text(json.dumps(known), "utf8")
        elif damage == "maps.safetensors":
            (folder / damage).write_bytes(b"no tensors")
        else:
            pd.DataFrame({"x": [1]}).to_parquet(folder / damage)
        app = opened("population")
        (error,) = app.error
        assert "damaged" in error.value
        assert not opened("runs").error

    def test_what_went_stale_says_so(self, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        shutil.rmtree(copied(ARTIFACT, runs_root, tmp_path, monkeypatch) / "model")
        assert "stale" in words(opened("population"))
