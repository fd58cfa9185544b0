"""Decoding a recording: known cells are read down to their bound, and what says nothing scores nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from models.artifacts import ArtifactError, publishing
from models.tasks import Navigation
from models.tuned import TunedPopulation, TunedPopulationConfig, population_dataset
from probes.population import OptimalLinearDecoder
from probes.report import Split
from probes.tuning import TuningCurves
from workbench.activations import harvest
from workbench.decoding import Variables, decode_sweep, read_decoding, read_variables, unit_tuning, write_decoding
from workbench.decoding.decoders import check_decoders
from workbench.decoding.information import KnownInformation
from workbench.decoding.variables import stretches_of

HEADING = {"heading": 2 * np.pi}


@pytest.fixture(scope="module")
def walks():
    return population_dataset(Navigation(n_steps=40).dataset(90, 30, seed=0))


def cells_of(**about):
    return TunedPopulation(TunedPopulationConfig(n_neurons=24, seed=1, max_rate=60.0, **about))


def recorded(walks, folder, **about):
    return harvest(cells_of(**about), walks, ["hook_counts", "hook_rates"], folder)


@pytest.fixture(scope="module")
def compass(walks, tmp_path_factory):
    return recorded(walks, tmp_path_factory.mktemp("compass") / "a", kind="head_direction")


@pytest.fixture(scope="module")
def found(compass, walks):
    return decode_sweep(
        compass,
        read_variables(compass, ["heading", "x,y"], HEADING),
        ["hook_counts"],
        ["optimal_linear", "poisson_bayes"],
        information=KnownInformation.of_cells(cells_of(kind="head_direction"), walks),
        dt=0.05,
        n_shuffles=9,
    )


def one(results: pd.DataFrame, **where) -> pd.Series:
    for column, value in where.items():
        results = results[results[column] == value]
    assert len(results) == 1
    return results.iloc[0]


def test_heading_is_read_from_head_direction_cells_and_position_is_not(found):
    bayes = one(found.results, output="heading", decoder="poisson_bayes", variant="decoder")
    assert bayes["r2"] > 0.85
    assert bayes["p_value"] == pytest.approx(0.1)
    for variant in ("shuffled", "mean"):
        assert abs(one(found.results, output="heading", decoder="poisson_bayes", variant=variant)["r2"]) < 0.3
    assert one(found.results, output="x", decoder="optimal_linear", variant="decoder")["r2"] < 0.1


def test_no_decoder_of_one_bin_goes_far_below_the_bound(found):
    own = found.results[(found.results["variant"] == "decoder") & (found.results["output"] == "heading")]
    assert (own["error"] > 0.9 * own["bound"]).all(), "a prior helps by a little"
    assert one(own, decoder="poisson_bayes")["error"] < 1.5 * one(own, decoder="poisson_bayes")["bound"]
    assert found.results.loc[found.results["output"] == "x", "bound"].isna().all(), "these cells know no place"


def test_the_estimates_that_are_kept_are_those_that_were_scored(found, compass):
    kept = found.decoded[(found.decoded["decoder"] == "poisson_bayes") & (found.decoded["output"] == "heading")]
    off = np.abs(np.angle(np.exp(1j * (kept["decoded"] - kept["true"]))))
    line = one(found.results, output="heading", decoder="poisson_bayes", variant="decoder")
    assert len(kept) == line["bins"]
    assert off.mean() == pytest.approx(line["error"], rel=1e-6)
    rows = compass.columns("doc", "pos", "heading", "split").to_pandas().set_index(["doc", "pos"])
    there = rows.loc[list(zip(kept["doc"], kept["pos"], strict=True))]
    assert (there["split"] == "test").all()
    assert there["heading"].to_numpy() == pytest.approx(kept["true"].to_numpy())


def test_units_are_tuned_to_what_they_prefer_and_chance_is_not(found, compass):
    tuning = found.tuning[found.tuning["variables"] == "heading"]
    assert (tuning["r2"] > 0.2).all()
    assert (tuning["r2_p"] < 0.05).all()
    cells = cells_of(kind="head_direction")
    angle = torch.linspace(-np.pi, np.pi, 721)[:-1]
    told = torch.stack([torch.zeros_like(angle), torch.zeros_like(angle), angle.cos(), angle.sin()], -1)
    best = angle[cells.rates(told).argmax(0)].numpy()
    off = np.abs(np.angle(np.exp(1j * (tuning["preferred"].to_numpy() - best))))
    assert off.max() < 0.3
    by_place = found.tuning[found.tuning["variables"] == "x, y"]
    assert by_place["r2"].median() < 0.05
    assert ("hook_counts", "heading") in found.curves


def test_rates_that_are_no_counts_are_decoded_by_a_gaussian(compass):
    found = decode_sweep(
        compass, read_variables(compass, ["heading"], HEADING), ["hook_rates"], n_shuffles=0, tuning=False
    )
    assert set(found.results["decoder"]) == {"optimal_linear", "wiener", "kalman", "gaussian_bayes"}
    assert found.results["bound"].isna().all()
    assert found.tuning.empty


def test_an_untrained_subject_stands_beside(walks, compass, tmp_path):
    deaf = recorded(walks, tmp_path / "b", kind="place", width=0.01)
    found = decode_sweep(
        compass,
        read_variables(compass, ["heading"], HEADING),
        ["hook_counts"],
        ["optimal_linear"],
        untrained=deaf,
        n_shuffles=0,
        tuning=False,
    )
    r2 = found.results.set_index("variant")["r2"]
    assert r2["decoder"] > 0.5 > 0.1 > r2["random subject"]


def test_an_untrained_subject_that_read_something_else_is_refused(compass, tmp_path):
    others = population_dataset(Navigation(n_steps=40).dataset(50, 20, seed=5))
    deaf = recorded(others, tmp_path / "b", kind="place")
    with pytest.raises(ValueError, match="is not of the same rows as"):
        decode_sweep(compass, read_variables(compass, ["heading"], HEADING), ["hook_counts"], untrained=deaf)


def test_a_killed_sweep_goes_on_with_what_is_ready(compass, tmp_path, monkeypatch):
    about = {"decoders": ["optimal_linear"], "n_shuffles": 1, "parts": tmp_path / "parts"}
    variables = read_variables(compass, ["heading"], HEADING)
    first = decode_sweep(compass, variables, ["hook_counts"], **about)
    monkeypatch.setattr("workbench.decoding.sweep.decoding_report", None)
    again = decode_sweep(compass, variables, ["hook_counts"], **about)
    pd.testing.assert_frame_equal(first.results, again.results)
    pd.testing.assert_frame_equal(first.tuning, again.tuning)


def test_decoders_of_ones_own_are_told_apart_by_their_settings(compass, tmp_path):
    variables = read_variables(compass, ["heading"], HEADING)
    about = {"n_shuffles": 0, "tuning": False, "parts": tmp_path / "parts"}
    weak, strong = (
        decode_sweep(compass, variables, ["hook_counts"], {"own": OptimalLinearDecoder(sigma)}, **about).results["r2"][
            0
        ]
        for sigma in (0.1, 100.0)
    )
    assert weak > strong + 0.01


def test_a_regressor_of_scikit_learn_is_scored_like_the_others(compass):
    variables = read_variables(compass, ["x,y"])
    found = decode_sweep(compass, variables, ["hook_counts"], {"ridge": Ridge()}, n_shuffles=1, tuning=False)
    assert found.results["r2"].notna().all()
    assert found.decoded["std"].isna().all()
    assert found.decoded["decoded"].notna().all()


def test_sequences_shorter_than_a_filters_window_are_decoded_by_a_shorter_one(tmp_path):
    walks = population_dataset(Navigation(n_steps=8).dataset(40, 12, seed=0))
    store = recorded(walks, tmp_path / "a", kind="head_direction")
    found = decode_sweep(
        store, read_variables(store, ["heading"], HEADING), ["hook_counts"], n_shuffles=1, tuning=False
    )
    assert one(found.results, decoder="wiener", variant="decoder")["r2"] > 0.2


def test_steps_are_joined_into_bins(compass):
    variables = read_variables(compass, ["heading"], HEADING)
    about = {"hooks": ["hook_counts"], "decoders": ["poisson_bayes"], "dt": 0.05, "n_shuffles": 0}
    single, joined = (decode_sweep(compass, variables, bin_steps=n, **about) for n in (1, 4))
    assert one(joined.results, variant="decoder")["bins"] == one(single.results, variant="decoder")["bins"] / 4
    rates = [found.curves["hook_counts", "heading"].rates for found in (single, joined)]
    assert np.nanmean(rates[1]) == pytest.approx(np.nanmean(rates[0]), rel=0.1), "in Hz, whatever the bins"
    assert one(joined.results, variant="decoder")["r2"] > one(single.results, variant="decoder")["r2"]


def test_nothing_to_decode_or_to_decode_it_by_is_refused(compass):
    with pytest.raises(ValueError, match="name a variable and a decoder"):
        decode_sweep(compass, [], ["hook_counts"])
    with pytest.raises(ValueError, match="name a variable and a decoder"):
        decode_sweep(compass, read_variables(compass, ["x"]), ["hook_counts"], [])


def test_an_analysis_comes_back_as_it_was_written(found, tmp_path):
    with publishing(tmp_path / "analyses" / "d", "analysis", config={"verb": "decode"}) as draft:
        write_decoding(draft.path, found)
    back = read_decoding(tmp_path / "analyses" / "d")
    for name in ("results", "decoded", "tuning"):
        pd.testing.assert_frame_equal(getattr(back, name), getattr(found, name))
    for key, curves in found.curves.items():
        assert back.curves[key].period == curves.period
        assert back.curves[key].rates == pytest.approx(curves.rates, rel=1e-6, nan_ok=True)
    (tmp_path / "analyses" / "d" / "decoded.parquet").unlink()
    with pytest.raises(ArtifactError, match="decoded.parquet is missing"):
        read_decoding(tmp_path / "analyses" / "d")


def test_what_another_verb_made_is_not_read(tmp_path):
    with publishing(tmp_path / "analyses" / "d", "analysis", config={"verb": "dynamics"}):
        pass
    with pytest.raises(ArtifactError, match="no analysis of a population"):
        read_decoding(tmp_path / "analyses" / "d")


def test_stretches_end_with_a_sequence_and_where_rows_are_left_out(compass):
    rows = np.r_[0:10, 12:20, 40:45]
    assert compass.columns("pos")["pos"][40].as_py() == 0
    assert stretches_of(compass, rows).tolist() == [0] * 10 + [1] * 8 + [2] * 5


def test_x_and_y_are_a_place_unless_others_are_asked_for(compass):
    assert [one.names for one in read_variables(compass)] == [("x", "y"), ("heading",), ("speed",), ("turn",)]
    (asked,) = read_variables(compass, ["heading, speed"], HEADING)
    assert asked == Variables(("heading", "speed"), (2 * np.pi, None))
    assert asked.title == "heading, speed"


@pytest.mark.parametrize(
    ("asked", "circular", "what"),
    [
        (["hedding"], {}, "no label 'hedding': there are"),
        (["x", "x,y"], {}, "x is asked for twice"),
        (["heading"], {"heading": -1.0}, "the period of heading is -1.0"),
        (["x"], {"angle": 1.0}, "no label 'angle'"),
    ],
)
def test_variables_that_there_are_not_are_named(compass, asked, circular, what):
    with pytest.raises(ValueError, match=what):
        read_variables(compass, asked, circular)


def test_a_decoder_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="no decoder is called 'kalmann': there are population_vector"):
        check_decoders(["kalmann"])


def test_a_map_explains_what_a_unit_does_and_no_more():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (4000, 1))
    X = torch.from_numpy(np.stack([np.sin(6 * x[:, 0]), rng.standard_normal(4000)], 1) + 0.1)
    rows = Split(np.arange(3000), np.arange(3000, 4000))
    table, curves = unit_tuning(X, x, Variables(("x",), (None,)), rows, n_shuffles=19)
    assert isinstance(curves, TuningCurves)
    assert table["r2"][0] > 0.98
    assert table["r2_p"].tolist()[0] == 0.05
    assert abs(table["r2"][1]) < 0.05
    assert table["r2_p"][1] > 0.05


def test_four_variables_have_no_map():
    X, x = torch.zeros(10, 1), np.zeros((10, 4))
    with pytest.raises(ValueError, match="4 variables: a map has one, two or three"):
        unit_tuning(X, x, Variables(("a", "b", "c", "d"), (None,) * 4), Split(np.arange(5), np.arange(5, 10)))
