"""Figures of populations: maps, decoded against true, scores beside controls, errors against their bound."""

import altair as alt
import numpy as np
import pandas as pd
import pytest

from probes.population import report
from workbench.figures import (
    decoded_path,
    decoded_scatter,
    decoded_trace,
    decoding_scores,
    error_against_bound,
    maps_table,
    rate_maps,
)
from workbench.figures.palette import DECODER_VARIANTS


def datasets(chart: alt.TopLevelMixin) -> list[pd.DataFrame]:
    """The tables inside a chart; building them validates the chart against Vega-Lite's schema."""
    return [pd.DataFrame(rows) for rows in chart.to_dict()["datasets"].values()]


def marks(chart: alt.TopLevelMixin) -> list[str]:
    return [layer["mark"]["type"] for layer in chart.to_dict()["layer"]]


class TestRateMaps:
    EDGES = (np.linspace(0, 1, 4), np.linspace(-2, 2, 3))
    RATES = np.arange(12.0).reshape(2, 3, 2)

    def table(self, rates=None, units=(1, 0)) -> pd.DataFrame:
        return maps_table(self.RATES if rates is None else rates, self.EDGES, units, ["a", "b"][: len(units)])

    def test_every_bin_stands_at_its_edges_with_its_rate(self) -> None:
        table = self.table()
        assert table["unit"].tolist() == [1] * 6 + [0] * 6, "in the order that was asked for"
        for row in table.itertuples():
            i, j = np.searchsorted(self.EDGES[0], row.x), np.searchsorted(self.EDGES[1], row.y)
            assert row.rate == self.RATES[row.unit, i, j]
            assert (row.x2, row.y2) == (self.EDGES[0][i + 1], self.EDGES[1][j + 1])

    def test_each_unit_has_a_picture_up_to_its_own_peak(self) -> None:
        pictures = rate_maps(self.table(), columns=2).to_dict()["concat"]
        scales = [picture["layer"][1]["encoding"]["color"]["scale"]["domain"] for picture in pictures]
        assert scales == [[0, 11], [0, 5]]
        assert [picture["title"]["text"] for picture in pictures] == ["a", "b"]

    def test_what_was_never_visited_is_drawn_apart_and_has_no_rate(self) -> None:
        rates = self.RATES.copy()
        rates[:, 0, 1] = np.nan
        unknown, known = datasets(rate_maps(self.table(rates, [0])))
        assert len(unknown) == 1
        assert (unknown["x"].item(), unknown["y"].item()) == (0, 0)
        assert len(known) == 5
        assert known["rate"].notna().all()

    def test_activations_below_zero_have_signed_colours_symmetric_about_it(self) -> None:
        chart = rate_maps(self.table(self.RATES - 3, [0])).to_dict()
        low, middle, high = chart["layer"][1]["encoding"]["color"]["scale"]["domain"]
        assert (low, middle, high) == (-3, 0, 3)

    def test_bins_are_whole_pixels(self) -> None:
        chart = rate_maps(self.table(units=[0]), size=100).to_dict()
        assert (chart["width"] % 3, chart["height"] % 2) == (0, 0)

    def test_one_variable_is_a_curve_whose_gaps_are_seen(self) -> None:
        rates = np.array([[1.0, np.nan, 3.0]])
        chart = rate_maps(maps_table(rates, [np.array([0.0, 1, 2, 3])], [0], ["a"]))
        assert marks(chart) == ["rect", "rule", "area", "line"]
        gap, _, curve = datasets(chart)
        assert gap["x"].tolist() == [1]
        assert curve["at"].tolist() == [0.5, 1.5, 2.5]

    def test_a_direction_is_a_rose_turned_as_a_mathematician_turns(self) -> None:
        edges = np.array([0.0, 90, 180, 270, 360])
        chart = rate_maps(maps_table(np.array([[1.0, 2, 3, 4]]), [edges], [0], ["a"]), period=360)
        assert set(marks(chart)) == {"arc"}
        sectors = datasets(chart)[-1]
        # Vega's 0 is up, and its angles run clockwise: 0 to 90 degrees lie between right (π/2) and up (0).
        np.testing.assert_allclose(sectors.loc[0, ["start", "end"]].astype(float), [np.pi / 2, 0], atol=1e-12)
        np.testing.assert_allclose(sectors.loc[1, ["start", "end"]].astype(float), [0, -np.pi / 2], atol=1e-12)

    def test_a_rose_has_no_room_below_zero(self) -> None:
        table = maps_table(np.array([[1.0, -1]]), [np.array([0.0, 1, 2])], [0], ["a"])
        assert "arc" not in marks(rate_maps(table, period=2))

    def test_what_cannot_be_drawn_is_refused(self) -> None:
        with pytest.raises(ValueError, match="one or two variables can"):
            maps_table(np.zeros((1, 2, 2, 2)), [np.arange(3.0)] * 3, [0], ["a"])
        with pytest.raises(ValueError, match="edges of"):
            maps_table(np.zeros((1, 2)), [np.arange(4.0)], [0], ["a"])
        with pytest.raises(ValueError, match="the table is empty"):
            rate_maps(self.table().iloc[:0])


def decoded(true, guess, std=0.1, doc=0) -> pd.DataFrame:
    table = pd.DataFrame({"true": np.asarray(true, float), "decoded": guess, "std": std, "doc": doc})
    return table.assign(pos=table.groupby("doc").cumcount())


class TestDecodedTrace:
    def line(self, chart: alt.TopLevelMixin, name: str) -> pd.DataFrame:
        spec = chart.to_dict()
        layer = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "line")
        table = pd.DataFrame(spec["datasets"][layer["data"]["name"]])
        return table[table["of"] == name]

    def band(self, chart: alt.TopLevelMixin) -> pd.DataFrame:
        spec = chart.to_dict()
        layer = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "rect")
        return pd.DataFrame(spec["datasets"][layer["data"]["name"]])

    def test_the_band_holds_95_per_cent_of_a_gaussian(self) -> None:
        band = self.band(decoded_trace(decoded([0, 1], [0.5, 1.5], std=[0.1, 0.2])))
        np.testing.assert_allclose(band["high"] - band["value"], 2 * 1.959964 * np.array([0.1, 0.2]))

    def test_a_decoder_without_a_band_has_none(self) -> None:
        chart = decoded_trace(decoded([0, 1], [0.5, 1.5], std=np.nan))
        assert self.band(chart).empty

    def test_no_line_crosses_the_edge_of_a_circle(self) -> None:
        table = decoded([5.8, 6.1, 0.1, 0.4], [6.0, 0.1, 0.2, 6.2])
        chart = decoded_trace(table, period=2 * np.pi)
        assert self.line(chart, "true")["piece"].tolist() == ["true 1", "true 1", "true 2", "true 2"]
        assert self.line(chart, "decoded")["piece"].nunique() == 3
        assert set(self.line(decoded_trace(table), "true")["piece"]) == {"true 1"}, "of a linear variable it is a jump"

    def test_a_band_that_reaches_past_the_edge_comes_in_at_the_other(self) -> None:
        chart = decoded_trace(decoded([0.0], [0.1], std=0.2), period=4)
        band = self.band(chart).sort_values("value")
        np.testing.assert_allclose(band["value"], [0, 4 + 0.1 - 1.959964 * 0.2])
        np.testing.assert_allclose(band["high"], [0.1 + 1.959964 * 0.2, 4])
        everywhere = self.band(decoded_trace(decoded([0.0], [0.1], std=9.0), period=4))
        assert everywhere[["value", "high"]].to_numpy().tolist() == [[0, 4]]

    @pytest.mark.parametrize(("values", "ends"), [([0.1, 5], [0, 6]), ([-0.1, 2], [-3, 3])])
    def test_the_range_of_angles_is_that_of_the_data(self, values, ends) -> None:
        chart = decoded_trace(decoded(values, values), period=6).to_dict()
        assert chart["layer"][2]["encoding"]["y"]["scale"]["domain"] == ends

    def test_lines_end_with_their_sequence(self) -> None:
        table = decoded([0, 1, 2, 3], [0, 1, 2, 3], doc=[0, 0, 1, 1])
        assert self.line(decoded_trace(table), "true")["piece"].tolist() == ["true 1"] * 2 + ["true 2"] * 2
        gap = decoded([0, 1, 2], [0, 1, 2]).assign(pos=[0, 1, 5])
        assert self.line(decoded_trace(gap), "true")["piece"].nunique() == 2

    def test_several_outputs_at_once_are_refused(self) -> None:
        with pytest.raises(ValueError, match="one output at a time, but the table has 2"):
            decoded_trace(decoded([0, 1], [0, 1]).assign(output=["x", "y"]))


class TestDecodedPath:
    def both(self) -> pd.DataFrame:
        x, y = decoded([0, 1, 2], [0.1, 1.1, 2.1], doc=[0, 0, 1]), decoded([5, 6, 7], [5.2, 6.2, 7.2], doc=[0, 0, 1])
        return pd.concat([x.assign(output="x"), y.assign(output="y")])

    def test_places_of_the_same_bin_are_joined(self) -> None:
        spec = decoded_path(self.both()).to_dict()
        between = pd.DataFrame(spec["datasets"][spec["layer"][0]["data"]["name"]])
        np.testing.assert_allclose(between[["true_x", "true_y"]], [[0, 5], [1, 6], [2, 7]])
        np.testing.assert_allclose(between[["decoded_x", "decoded_y"]], [[0.1, 5.2], [1.1, 6.2], [2.1, 7.2]])
        assert between["piece"].tolist() == [1, 1, 2]

    def test_a_unit_is_as_long_one_way_as_the_other(self) -> None:
        chart = decoded_path(self.both().assign(true=lambda t: t["true"] * np.where(t["output"] == "x", 9, 1)))
        spec = chart.to_dict()
        lengths = [np.ptp(spec["layer"][1]["encoding"][axis]["scale"]["domain"]) for axis in "xy"]
        assert lengths[0] == pytest.approx(lengths[1])
        assert spec["width"] == spec["height"]

    def test_what_does_not_belong_together_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no output 'z': there are x, y"):
            decoded_path(self.both(), ("x", "z"))
        with pytest.raises(ValueError, match="the same bins of both outputs"):
            decoded_path(self.both().iloc[:-1])

    def test_decoded_equals_true_on_the_diagonal(self) -> None:
        diagonal, points = datasets(decoded_scatter(decoded([0, 3], [1, 2])))
        assert diagonal["true"].tolist() == diagonal["decoded"].tolist() == [0, 3]
        assert points["decoded"].tolist() == [1, 2]


def scores() -> pd.DataFrame:
    lines = []
    for decoder in ("kalman", "wiener"):
        for at, variant in enumerate(DECODER_VARIANTS):
            value = 0.9 - 0.4 * at - (3 if variant == "mean" else 0)
            own = variant == "decoder"
            lines.append(
                {"decoder": decoder, "variant": variant, "note": "", "measure": "rmse", "bound": 0.3 if own else np.nan}
                | {f"{name}{end}": value + by for name in ("r2", "error") for end, by in _ENDS.items()}
            )
    return pd.DataFrame(lines)


_ENDS = {"": 0.0, "_low": -0.1, "_high": 0.1}


class TestDecodingScores:
    def drawn(self, chart: alt.TopLevelMixin, layer: int) -> pd.DataFrame:
        spec = chart.to_dict()
        data = spec["layer"][layer].get("data") or spec["data"]  # where all layers have one table
        return pd.DataFrame(spec["datasets"][data["name"]])

    def test_every_decoder_and_control_with_its_interval(self) -> None:
        drawn = self.drawn(decoding_scores(scores()), 1)
        np.testing.assert_allclose(drawn[["value", "low", "high"]], scores()[["r2", "r2_low", "r2_high"]])

    def test_what_is_worse_than_nothing_stands_at_the_edge_and_says_its_number(self) -> None:
        drawn = self.drawn(decoding_scores(scores()), 1)
        worst = drawn[drawn["variant"] == "mean"]
        assert (worst["shown"] == -1).all()
        assert (worst["value"] < -3).all()

    def test_the_bound_stands_beside_the_error_alone(self) -> None:
        assert "tick" not in marks(decoding_scores(scores()))
        chart = decoding_scores(scores(), "error")
        assert marks(chart) == ["rule", "point", "tick"]
        assert self.drawn(chart, 2)["bound"].tolist() == [0.3, 0.3]
        assert chart.to_dict()["layer"][1]["encoding"]["x"]["title"] == "error (rmse)"

    def test_each_variant_of_a_report_has_a_colour_and_a_sign_of_its_own(self) -> None:
        assert {report.DECODER, report.SHUFFLED, report.MEAN} <= set(DECODER_VARIANTS)
        encoding = decoding_scores(scores()).to_dict()["layer"][1]["encoding"]
        for sign in ("color", "shape"):
            assert encoding[sign]["scale"]["domain"] == list(DECODER_VARIANTS)
            assert len(set(encoding[sign]["scale"]["range"])) == len(DECODER_VARIANTS)

    def test_several_outputs_at_once_are_refused(self) -> None:
        with pytest.raises(ValueError, match="choose a hook and an output"):
            decoding_scores(pd.concat([scores(), scores()]))


class TestErrorAgainstBound:
    N = np.array([8.0, 32, 128])

    def errors(self, **more) -> pd.DataFrame:
        parts = [
            pd.DataFrame({"n": self.N, "error": k * self.N**-0.5, "low": k * 0.1, "high": k, "decoder": f"decoder {k}"})
            for k in (1, 2)
        ]
        return pd.concat(parts).assign(**more)

    def test_the_reference_has_its_slope_and_runs_through_the_middle_of_the_first(self) -> None:
        chart = error_against_bound(self.errors(), slope=-0.5)
        line = next(t for t in datasets(chart) if "name" in t and len(t) == 2)
        np.testing.assert_allclose(line["error"], line["n"] ** -0.5)
        assert line["name"].unique().tolist() == ["slope -0.5"]

    def test_the_bound_is_drawn_once(self) -> None:
        chart = error_against_bound(self.errors(bound=0.5))
        bounds = [t for t in datasets(chart) if "name" in t and len(t) == 3]
        assert len(bounds) == 1
        assert bounds[0]["error"].tolist() == [0.5] * 3

    def test_both_axes_are_logarithmic_and_each_decoder_has_signs(self) -> None:
        points = error_against_bound(self.errors()).to_dict()["layer"][2]
        assert [points["encoding"][axis]["scale"]["type"] for axis in "xy"] == ["log", "log"]
        for sign in ("color", "shape"):
            assert len(set(points["encoding"][sign]["scale"]["range"])) == 2

    def test_one_seed_has_no_band(self) -> None:
        chart = error_against_bound(self.errors(low=np.nan, high=np.nan)).to_dict()
        assert chart["datasets"][chart["layer"][0]["data"]["name"]] == []

    def test_what_has_no_logarithm_is_refused(self) -> None:
        with pytest.raises(ValueError, match="not above 0"):
            error_against_bound(self.errors(error=0.0))
        with pytest.raises(ValueError, match="average the seeds first"):
            error_against_bound(pd.concat([self.errors(), self.errors()]))


@pytest.mark.parametrize(
    "draw", [rate_maps, decoded_trace, decoded_path, decoded_scatter, decoding_scores, error_against_bound]
)
def test_a_table_of_something_else_is_refused_in_one_sentence(draw) -> None:
    with pytest.raises(ValueError, match="the table lacks"):
        draw(pd.DataFrame({"x": [1.0]}))
