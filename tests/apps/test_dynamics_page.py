"""The dynamics page without a browser: portrait, spectrum and table of fixed points, gates, units, what is missing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_views import charts, component, copied, opened, unescaped_tags, words
from tiny_run import WICKED

from workbench.dynamics import Dynamics, read_dynamics
from workbench.runs import Run

TRAINED = "trained"

ARTIFACT = "dynamics/analyses/dynamics"


@pytest.fixture
def dynamics(runs_root: Path) -> Dynamics:
    return read_dynamics(Run.open(runs_root / "dynamics").find("analysis").path)


@pytest.mark.usefixtures("explorer_environment")
class TestPoints:
    def test_every_point_has_its_line(self, dynamics: Dynamics) -> None:
        own = dynamics.table[dynamics.table["variant"] == TRAINED]
        table = component(opened("dynamics", run="dynamics"), "link_table", "unstable modes")
        assert table["ids"] == own["point"].tolist()
        assert len(own) > 0
        for row, (_, line) in zip(table["rows"], own.iterrows(), strict=True):
            assert row[1]["text"] == line["kind"]
            assert int(row[3]["text"]) == line["n_unstable"]
            assert float(row[4]["text"]) == pytest.approx(line["modulus"], abs=6e-5)
            assert int(row[8]["text"]) == line["basin"]
            assert f"point={line['point']}" in row[0]["href"]

    def test_a_point_of_the_link_is_shown_everywhere(self) -> None:
        app = opened("dynamics", run="dynamics", point="0")
        rows = component(app, "link_table", "unstable modes")["rows"]
        assert [row[-1]["text"] for row in rows][:1] == ["shown"]
        plain = charts(opened("dynamics", run="dynamics"))
        # Fewer opaque marks: the point's own eigenvalues are seen over the others.
        assert charts(app)[1]["layer"][1]["mark"]["opacity"] < plain[1]["layer"][1]["mark"]["opacity"]

    def test_a_point_that_is_not_there_is_one_sentence(self, dynamics: Dynamics) -> None:
        n = len(dynamics.points)
        said = words(opened("dynamics", run="dynamics", point="9999"))
        assert f"There is no such point here: they are numbered 0 to {n - 1}, the slowest first." in said

    def test_axes_colour_and_subject_come_from_the_link(self, dynamics: Dynamics) -> None:
        app = opened("dynamics", run="dynamics", right="pc2", up="pc3", colour="memory", subject="untrained")
        x, y = (charts(app)[0]["layer"][0]["encoding"][axis]["title"] for axis in "xy")
        assert dynamics.explained["untrained"][1] == pytest.approx(
            float(x.split("(")[1].split("%")[0]) / 100, abs=0.006
        )
        assert x.startswith("PC 2 (")
        assert y.startswith("PC 3 (")
        assert charts(app)[0]["layer"][1]["encoding"]["color"]["legend"]["title"] == "memory"
        untrained = dynamics.table[dynamics.table["variant"] == "untrained"]
        assert component(app, "link_table", "unstable modes")["ids"] == untrained["point"].tolist()

    def test_the_untrained_subject_s_counts_stand_beside(self, dynamics: Dynamics) -> None:
        counts = dynamics.table.groupby("variant")["kind"].value_counts()
        shown = {f["label"]: f for f in component(opened("dynamics", run="dynamics"), "facts")["facts"]}
        for kind in set(dynamics.table["kind"]):
            assert int(shown[kind]["value"]) == counts.get((TRAINED, kind), 0)
            assert shown[kind]["note"] == f"untrained {counts.get(('untrained', kind), 0)}"
        assert shown["in three axes"]["value"] == f"{sum(dynamics.explained[TRAINED][:3]):.0%}"

    def test_a_choice_of_another_run_is_not_held_against_this_one(self) -> None:
        app = opened("dynamics", run="dynamics", right="gone", colour="gone", subject="gone", gates="gone")
        assert app.selectbox(key="right").value == "pc1"


@pytest.mark.usefixtures("explorer_environment")
class TestGatesAndUnits:
    def test_gates_stand_beside_the_untrained_subject_s(self, dynamics: Dynamics) -> None:
        assert dynamics.gates is not None
        rows = component(opened("dynamics", run="dynamics"), "link_table", "nearly always")["rows"]
        assert [(row[0]["text"], row[1]["text"]) for row in rows] == [
            (gate, variant) for gate in ("i", "f", "o") for variant in (TRAINED, "untrained")
        ]
        own = dynamics.gates[(dynamics.gates["label"] == "all") & dynamics.gates["hook"].str.endswith("hook_f")]
        wanted = own.groupby("variant")["mean"].mean()
        assert float(rows[2][2]["text"]) == pytest.approx(wanted[TRAINED], abs=6e-3)
        assert float(rows[3][2]["text"]) == pytest.approx(wanted["untrained"], abs=6e-3)

    def test_each_label_has_its_unit_its_shuffle_and_the_untrained_one(self, dynamics: Dynamics) -> None:
        assert dynamics.units is not None
        chosen = dynamics.units[dynamics.units["chosen"]]
        own = chosen[chosen["variant"] == TRAINED].set_index("label")
        before = chosen[chosen["variant"] == "untrained"].set_index("label")
        rows = component(opened("dynamics", run="dynamics"), "link_table", "labels moved")["rows"]
        assert WICKED in [row[0]["text"] for row in rows]
        for row in rows:
            line = own.loc[row[0]["text"]]
            assert int(row[2]["text"]) == line["unit"]
            shown = [float(row[i]["text"].replace("−", "-")) for i in (3, 4, 7)]
            wanted = [line["held_out"], line["shuffled"], before.loc[row[0]["text"], "held_out"]]
            np.testing.assert_allclose(shown, wanted, atol=6e-4)

    def test_what_a_unit_costs_is_told_where_its_label_holds_and_elsewhere(self, dynamics: Dynamics) -> None:
        assert dynamics.ablation is not None
        rows = component(opened("dynamics", run="dynamics"), "link_table", "random, where it holds")["rows"]
        assert rows
        for row in rows:
            of = dynamics.ablation[dynamics.ablation["label"] == row[0]["text"]]
            mine = of[(of["variant"] == "unit") & (of["unit"] == int(row[1]["text"]))]
            shown = [float(cell["text"].replace("−", "-")) for cell in row[2:]]
            random = of.loc[of["variant"] == "random unit", "rise_on"].mean()
            wanted = [mine["rise_on"].iloc[0], mine["rise_off"].iloc[0], random]
            np.testing.assert_allclose(shown, wanted, atol=6e-5)

    def test_a_wicked_label_stays_text(self) -> None:
        app = opened("dynamics", run="dynamics", colour=WICKED)
        assert app.selectbox(key="colour").value == WICKED
        assert not unescaped_tags(app)

    def test_what_was_left_out_is_said(self, runs_root: Path, tmp_path: Path, monkeypatch) -> None:
        folder = copied(ARTIFACT, runs_root, tmp_path, monkeypatch) / "analyses/dynamics"
        for name in ("gates", "units", "ablation"):
            (folder / f"{name}.parquet").unlink()
        said = words(opened("dynamics"))
        assert "This subject has no gates." in said
        assert "No units were held against labels" in said


class TestNothingThere:
    @pytest.mark.usefixtures("explorer_environment")
    def test_the_command_is_named(self, runs_root: Path) -> None:
        app = opened("dynamics", run="gru")
        assert [code.value for code in app.code] == [f"workbench dynamics --run {runs_root / 'gru'}"]

    @pytest.mark.usefixtures("explorer_environment")
    @pytest.mark.parametrize(
        ("run", "sentence"),
        [
            ("tiny", "A Transformer has no recurrence: nothing in it goes from one step to the next"),
            ("result", "This run holds tables alone, and no subject."),
        ],
    )
    def test_a_subject_without_recurrence_has_none(self, run: str, sentence: str) -> None:
        app = opened("dynamics", run=run)
        assert sentence in words(app)
        assert not app.code

    @pytest.mark.parametrize("damage", ["portrait.parquet", "arrays.safetensors", "result.parquet"])
    def test_damage_is_a_message_and_other_pages_live(
        self, damage: str, runs_root: Path, tmp_path: Path, monkeypatch
    ) -> None:
        file = copied(ARTIFACT, runs_root, tmp_path, monkeypatch) / "analyses/dynamics" / damage
        if damage.endswith("parquet"):
            pd.DataFrame({"x": [1]}).to_parquet(file)
        else:
            file.write_bytes(b"no tensors")
        app = opened("dynamics")
        (error,) = app.error
        assert "damaged" in error.value or "lacks" in error.value
        assert not opened("runs").error
