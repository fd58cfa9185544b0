"""Figures of dynamics: portraits, spectra, units that tell a label, and what it costs to hold them still."""

import altair as alt
import numpy as np
import pandas as pd
import pytest

from workbench.dynamics.points import KINDS
from workbench.figures import eigenvalue_table, spectrum, state_portrait, unit_ablation, unit_scores
from workbench.figures.fixed_point_marks import FILLS, SHAPES


def datasets(chart: alt.TopLevelMixin) -> list[pd.DataFrame]:
    """The tables inside a chart; building them validates the chart against Vega-Lite's schema."""
    return [pd.DataFrame(rows) for rows in chart.to_dict()["datasets"].values()]


def portrait() -> pd.DataFrame:
    """Two sequences of three steps, a stable point, a saddle and a slow point, and one way out of the saddle."""
    step = np.tile(np.arange(3.0), 2)
    seen = pd.DataFrame({"what": "trajectory", "path": np.repeat([0.0, 1], 3), "step": step, "pc1": step, "pc2": 1.0})
    seen = seen.assign(pc3=-1.0, truth=[True, False, True, False, True, False], depth=np.arange(6) - 2.0)
    points = pd.DataFrame(
        {"what": "point", "point": [0, 1, 2], "kind": ["stable", "saddle", "slow"], "pc1": [4.0, 5, 6]}
    )
    way = pd.DataFrame({"what": "manifold", "path": 0, "step": [0, 1], "point": 1, "pc1": [5.0, 4]})
    found = pd.concat([seen, points.assign(pc2=0.0, pc3=7.0), way.assign(pc2=0.0, pc3=7.0)], ignore_index=True)
    return found.astype({"truth": "boolean", "path": "Int64", "step": "Int64", "point": "Int64"})


def facts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "point": [0, 1, 2],
            "kind": ["stable", "saddle", "slow"],
            "n_unstable": [0, 2, 0],
            "modulus": [0.5, 1.5, 1.0],
            "time_constant": [1.4, -2.5, np.inf],
            "q": [1e-25, 1e-25, 1e-8],
            "basin": [10, 3, 1],
        }
    )


class TestStatePortrait:
    def layers(self, **how) -> list[tuple[dict, pd.DataFrame]]:
        spec = state_portrait(portrait(), **how).to_dict()
        return [(layer, pd.DataFrame(spec["datasets"][layer["data"]["name"]])) for layer in spec["layer"]]

    def test_states_manifolds_and_points_lie_along_the_axes_asked_for(self) -> None:
        lines, _, manifold, points, *_ = self.layers(axes=("pc1", "pc3"), explained=[0.6, 0.3, 0.1])
        assert lines[1][["x", "y"]].to_numpy().tolist() == [[s, -1] for s in (0, 1, 2)] * 2
        assert manifold[1]["x"].tolist() == [5, 4]
        assert points[1][["x", "y"]].to_numpy().tolist() == [[4, 7], [5, 7], [6, 7]]
        assert lines[0]["encoding"]["x"]["title"] == "PC 1 (60% of the variance)"
        assert lines[0]["encoding"]["y"]["title"] == "PC 3 (10% of the variance)"

    def test_a_saddle_has_the_number_of_its_unstable_modes(self) -> None:
        *_, (layer, numbers) = self.layers(points=facts())
        assert layer["mark"]["type"] == "text"
        assert numbers["modes"].tolist() == ["2"]
        assert numbers["point"].tolist() == [1]

    def test_the_chosen_point_is_ringed(self) -> None:
        rings = [self.layers(points=facts(), chosen=chosen)[4][1] for chosen in (None, 2)]
        assert rings[0].empty
        assert rings[1]["point"].tolist() == [2]

    def test_a_time_constant_without_end_is_left_out_and_nothing_else(self) -> None:
        table = self.layers(points=facts())[3][1]
        assert table["time_constant"].isna().tolist() == [False, False, True]
        assert table["modulus"].tolist() == [0.5, 1.5, 1.0]

    def test_a_truth_has_a_colour_a_value_and_a_number_a_scale(self) -> None:
        states, table = self.layers(label="truth")[1]
        assert states["encoding"]["color"]["scale"]["domain"] == ["False", "True"]
        assert table["value"].tolist() == ["True", "False"] * 3
        few, _ = self.layers(label="depth")[1]
        assert few["encoding"]["color"]["scale"]["domain"] == ["-2", "-1", "0", "1", "2", "3"], "in order, not as words"

    def test_a_number_of_many_values_is_signed_about_zero_where_it_has_signs(self) -> None:
        many = portrait().loc[[0] * 30].assign(depth=np.linspace(-1, 2, 30))
        scale = state_portrait(many, label="depth").to_dict()["layer"][1]["encoding"]["color"]["scale"]
        assert scale["domain"] == [-2, 0, 2]
        above = state_portrait(many.assign(depth=np.arange(30.0)), label="depth").to_dict()
        assert above["layer"][1]["encoding"]["color"]["scale"]["scheme"]["name"] == "viridis"

    def test_a_label_of_any_name_is_drawn(self) -> None:
        """Dots, brackets and colons mean something to Vega where a column is named so."""
        table = portrait().rename(columns={"truth": "kind=a.b[0]:Q"})
        states = state_portrait(table, label="kind=a.b[0]:Q").to_dict()["layer"][1]
        assert states["encoding"]["color"]["field"] == "value"
        assert states["encoding"]["color"]["legend"]["title"] == "kind=a.b[0]:Q"

    def test_each_kind_has_a_sign_of_its_own(self) -> None:
        assert set(SHAPES) == set(FILLS) == set(KINDS)
        assert len({(SHAPES[kind], FILLS[kind]) for kind in KINDS}) == len(KINDS)

    def test_a_label_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(ValueError, match="lacks gone"):
            state_portrait(portrait(), label="gone")


class TestSpectrum:
    VALUES = np.array([[0.5 + 0.5j, 0.5 - 0.5j], [1.5, -0.2]])

    def table(self) -> pd.DataFrame:
        both = [
            eigenvalue_table(self.VALUES, ["stable", "saddle"]),
            eigenvalue_table(self.VALUES[:1] / 2, ["stable"], "untrained"),
        ]
        return pd.concat(both, ignore_index=True)

    def test_every_eigenvalue_lies_in_the_plane_with_its_point(self) -> None:
        table = eigenvalue_table(self.VALUES, ["stable", "saddle"])
        np.testing.assert_allclose(table["real"] + 1j * table["imaginary"], self.VALUES.ravel())
        np.testing.assert_allclose(table["modulus"], np.abs(self.VALUES).ravel())
        assert table["point"].tolist() == [0, 0, 1, 1]
        assert table["kind"].tolist() == ["stable"] * 2 + ["saddle"] * 2

    def test_the_circle_has_radius_1_and_is_one(self) -> None:
        chart = spectrum(self.table()).to_dict()
        circle = pd.DataFrame(chart["datasets"][chart["layer"][0]["data"]["name"]])
        np.testing.assert_allclose(np.hypot(circle["real"], circle["imaginary"]), 1)
        scales = [chart["layer"][0]["encoding"][axis]["scale"]["domain"] for axis in "xy"]
        assert scales[0] == scales[1]
        assert chart["width"] == chart["height"]

    def test_a_chosen_point_is_the_trained_subject_s(self) -> None:
        chart = spectrum(self.table(), chosen=0).to_dict()
        own = pd.DataFrame(chart["datasets"][chart["layer"][2]["data"]["name"]])
        assert own["variant"].tolist() == ["trained"] * 2
        assert own["point"].tolist() == [0, 0]

    def test_trained_and_untrained_have_colours_and_shapes(self) -> None:
        marks = spectrum(self.table()).to_dict()["layer"][1]["encoding"]
        for sign in ("color", "shape"):
            assert marks[sign]["scale"]["domain"] == ["trained", "untrained"]
            assert len(set(marks[sign]["scale"]["range"])) == 2


def told() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["falls", "rises", "depth", "falls", "rises"],
            "measure": ["auroc", "auroc", "spearman", "auroc", "auroc"],
            "unit": [3, 4, 5, 6, 7],
            "held_out": [0.1, 0.7, -0.6, 0.4, 0.5],
            "shuffled": [0.55, 0.52, 0.1, np.nan, np.nan],
            "variant": ["trained"] * 3 + ["untrained"] * 2,
        }
    )


class TestUnitScores:
    def test_units_that_rise_and_that_fall_are_held_to_the_same_scale(self) -> None:
        table = next(t for t in datasets(unit_scores(told())) if "apart" in t).set_index(["label", "of"])["apart"]
        assert table["falls", "unit"] == pytest.approx(0.8)
        assert table["rises", "unit"] == pytest.approx(0.4)
        assert table["depth", "unit"] == pytest.approx(0.6)
        assert table["falls", "untrained"] == pytest.approx(0.2)
        assert table["rises", "untrained"] == 0
        assert table["falls", "labels moved"] == pytest.approx(0.1)
        assert table["depth", "labels moved"] == pytest.approx(0.1)

    def test_the_best_told_label_stands_first(self) -> None:
        marks = unit_scores(told()).to_dict()["layer"][0]["encoding"]
        assert marks["y"]["scale"]["domain"] == ["falls", "depth", "rises"]

    def test_units_that_were_not_chosen_are_refused(self) -> None:
        with pytest.raises(ValueError, match="keep the units that were chosen"):
            unit_scores(pd.concat([told(), told()]))


def test_the_ablation_of_a_label_is_of_its_own_unit_beside_random_ones() -> None:
    lines = [
        {"unit": unit, "variant": variant, "label": label, "rise_on": 0.1 * unit, "rise_off": 0.01 * unit}
        for unit, variant in ((3, "unit"), (4, "unit"), (8, "random unit"))
        for label in ("quote", "bracket", "unlisted")
    ]
    table = datasets(unit_ablation(pd.DataFrame(lines), {"quote": 3, "bracket": 4}))[-1]
    drawn = table.set_index(["label", "variant", "where"])
    assert set(table["label"]) == {"quote", "bracket"}
    assert drawn.loc[("quote", "unit", "where it holds"), "unit"] == 3
    assert drawn.loc[("bracket", "unit", "where it holds"), "rise"] == pytest.approx(0.4)
    assert drawn.loc[("bracket", "unit", "elsewhere"), "rise"] == pytest.approx(0.04)
    assert drawn.loc[("quote", "random unit", "where it holds"), "rise"] == pytest.approx(0.8)
    assert len(table) == 8


@pytest.mark.parametrize("draw", [state_portrait, spectrum, unit_scores, lambda t: unit_ablation(t, {})])
def test_a_table_of_something_else_is_refused_in_one_sentence(draw) -> None:
    with pytest.raises(ValueError, match="the table lacks"):
        draw(pd.DataFrame({"x": [1.0]}))
