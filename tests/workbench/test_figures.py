"""Figures: a table in, a chart out, whose data and marks are those of the table."""

import altair as alt
import numpy as np
import pandas as pd
import pytest

from probes import report
from workbench.figures import (
    activation_histogram,
    concept_gain,
    density_histogram,
    dictionary_comparison,
    gate_saturation,
    naming_fractions,
    pareto,
    probe_by_hook,
    probe_heatmap,
    state_heatmap,
    training_curve,
)
from workbench.figures.palette import DICTIONARIES, PROBE_VARIANTS
from workbench.figures.pareto import ARCHITECTURES
from workbench.figures.training_curve import losses_and_baselines
from workbench.sae.registry import ARCHITECTURES as SAES


def datasets(chart: alt.TopLevelMixin) -> list[pd.DataFrame]:
    """The tables inside a chart; building them validates the chart against Vega-Lite's schema."""
    return [pd.DataFrame(rows) for rows in chart.to_dict()["datasets"].values()]


def test_training_curve_draws_every_loss_and_every_baseline() -> None:
    log = pd.DataFrame(
        {
            "step": [0, 10, 20],
            "train_loss": [np.nan, 5.0, 4.0],
            "heldout_loss": [7.0, np.nan, 4.5],
            "unigram_loss": [6.0, np.nan, np.nan],
            "bigram_loss": [4.2, np.nan, np.nan],
        }
    )
    losses, baselines = losses_and_baselines(log)
    assert baselines == {"unigram": 6.0, "bigram": 4.2}
    assert sorted(zip(losses["split"], losses["step"], losses["loss"], strict=True)) == [
        ("held out", 0, 7.0),
        ("held out", 20, 4.5),
        ("train", 10, 5.0),
        ("train", 20, 4.0),
    ]
    lines, rules = datasets(training_curve(losses, baselines))
    assert len(lines) == 4
    assert dict(zip(rules["model"], rules["loss"], strict=True)) == baselines


def test_a_training_without_held_out_text_has_one_line() -> None:
    losses, baselines = losses_and_baselines(pd.DataFrame({"step": [1, 2], "train_loss": [3.0, 2.0]}))
    assert baselines == {}
    assert set(losses["split"]) == {"train"}
    training_curve(losses).to_dict()


def test_histogram_keeps_every_count_and_leaves_out_empty_bins() -> None:
    counts, edges = np.histogram([0.1, 0.1, 0.9], bins=4, range=(0, 1))
    chart = activation_histogram(edges, counts, {"20%": 0.2})
    bins = next(table for table in datasets(chart) if "tokens" in table)
    assert bins["tokens"].tolist() == [2, 1]
    assert bins["low"].tolist() == [0.0, 0.75]
    with pytest.raises(ValueError, match="need 4 bin edges"):
        activation_histogram(edges, counts[:3])


def test_density_is_of_live_features() -> None:
    table = pd.DataFrame({"density": [0.1, 0.01, 0.0], "dead": [False, False, True]})
    live = next(t for t in datasets(density_histogram(table, here=0.01)) if len(t) == 2)
    assert live["density"].tolist() == [0.1, 0.01]


def concepts(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    f1 = rng.random((4, n))
    gain = f1[0] - f1[1]
    return pd.DataFrame(
        {
            "concept": [f"concept {i}" for i in range(n)],
            **dict(zip(["feature_f1", "neuron_f1", "pca_f1", "random_f1"], f1, strict=True)),
            "gain": gain,
            "gain_low": gain - 0.1,
            "gain_high": gain + 0.1,
            "token_f1": rng.random(n),
        }
    )


def test_concepts_keep_their_order_and_have_a_dot_for_each_dictionary() -> None:
    table = concepts(5)[::-1]
    chart = concept_gain(table)
    assert chart.to_dict()["layer"][0]["encoding"]["y"]["sort"] == table["concept"].tolist()
    dots = next(t for t in datasets(chart) if "dictionary" in t)
    assert dots.groupby("concept")["dictionary"].agg(set).tolist() == [set(DICTIONARIES)] * 5
    spans = next(t for t in datasets(chart) if "low" in t)
    assert (spans["low"] <= spans["feature_f1"] + 1e-9).all()
    assert (spans["high"] >= spans["feature_f1"] - 1e-9).all()


def test_naming_and_comparison_colour_a_dictionary_alike() -> None:
    naming = pd.DataFrame({"dictionary": list(DICTIONARIES), "kind": "token", "share": [0.9, 0.5, 0.2, 0.1]})
    metrics = pd.DataFrame(
        {"dictionary": list(DICTIONARIES), "metric": "explained variance", "value": [0.9, 0.5, 0.2, 0.1]}
    )
    scales = [
        c.to_dict()["layer"][0]["encoding"]["color"]["scale"]
        for c in (naming_fractions(naming), dictionary_comparison(metrics))
    ]
    assert scales[0] == scales[1] == {"domain": list(DICTIONARIES), "range": list(DICTIONARIES.values())}
    assert len(set(DICTIONARIES.values())) == len(DICTIONARIES)


@pytest.mark.parametrize(
    "draw",
    [
        lambda t: training_curve(t),
        lambda t: density_histogram(t),
        lambda t: concept_gain(t),
        lambda t: naming_fractions(t),
        lambda t: dictionary_comparison(t),
        lambda t: probe_heatmap(t),
        lambda t: probe_by_hook(t),
    ],
)
def test_a_table_of_something_else_is_refused_in_one_sentence(draw) -> None:
    with pytest.raises(ValueError, match="the table lacks"):
        draw(pd.DataFrame({"x": [1.0]}))


def states(values: np.ndarray) -> pd.DataFrame:
    """The tidy table of `[pos, unit]` values whose units are called 10, 11, …"""
    n_pos, n_units = values.shape
    return pd.DataFrame(
        {
            "position": np.repeat(np.arange(n_pos), n_units),
            "token": np.repeat([f"word{i % 2}" for i in range(n_pos)], n_units),
            "unit": np.tile(np.arange(n_units) + 10, n_pos),
            "value": values.ravel(),
        }
    )


class TestStateHeatmap:
    VALUES = np.array([[0.1, -0.9, 0.0], [0.2, 0.3, -0.1], [-0.8, 0.1, 0.1], [0.0, 0.5, 0.05]])

    def cells(self, **changes) -> dict:
        return state_heatmap(states(self.VALUES), **changes).to_dict()["layer"][0]

    def test_every_value_stands_at_its_unit_and_position(self) -> None:
        chart = state_heatmap(states(self.VALUES))
        table = next(t for t in datasets(chart) if "10" in t)
        np.testing.assert_allclose(table[["10", "11", "12"]], self.VALUES)
        assert table["at"].tolist() == ["0  word0", "1  word1", "2  word0", "3  word1"]
        assert set(self.cells()["transform"][0]["fold"]) == {"10", "11", "12"}

    def test_units_stand_by_their_peak_or_as_given(self) -> None:
        assert self.cells()["encoding"]["y"]["scale"]["domain"] == ["11", "12", "10"]
        assert self.cells(order="given")["encoding"]["y"]["scale"]["domain"] == ["10", "11", "12"]

    def test_colours_are_symmetric_about_zero_and_a_gate_goes_from_0_to_1(self) -> None:
        domain = self.cells()["encoding"]["color"]["scale"]["domain"]
        assert domain[0] == -0.9
        assert [-d for d in domain[::-1]] == domain
        assert self.cells(gate=True)["encoding"]["color"]["scale"]["domain"] == [0, 1]

    def test_all_the_units_of_a_wide_layer_are_sent_small(self) -> None:
        values = np.random.default_rng(0).normal(size=(128, 256))
        chart = state_heatmap(states(values), here=3, unit=17).to_dict()
        assert max(len(rows) for rows in chart["datasets"].values()) == 128
        assert chart["height"] <= 640

    def test_a_missing_value_is_refused(self) -> None:
        with pytest.raises(ValueError, match="one value of every unit at every position"):
            state_heatmap(states(self.VALUES).iloc[1:])
        with pytest.raises(ValueError, match="lacks token"):
            state_heatmap(states(self.VALUES).drop(columns="token"))


def test_gate_saturation_draws_every_gate_of_every_unit_and_rings_one() -> None:
    table = pd.DataFrame(
        {"gate": ["i", "i", "f", "f"], "unit": [0, 1, 0, 1], "left": [0, 0.5, 0.2, 1], "right": [1, 0.5, 0.1, 0]}
    )
    drawn = datasets(gate_saturation(table, unit=1))
    points = next(t for t in drawn if len(t) == 4)
    pd.testing.assert_frame_equal(points.astype({"left": float, "right": float}), table)
    ringed = next(t for t in drawn if len(t) == 2 and "unit" in t)
    assert ringed["unit"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="lacks right"):
        gate_saturation(table.drop(columns="right"))


def test_a_training_curve_says_what_its_loss_is_counted_in() -> None:
    losses = pd.DataFrame({"step": [1, 2], "split": "train", "loss": [3.0, 2.0]})
    lines = training_curve(losses, unit="mean squared error").to_dict()["layer"][0]
    assert lines["encoding"]["y"]["title"] == "loss (mean squared error)"


def results_of_a_sweep() -> pd.DataFrame:
    rows = []
    for architecture, better in (("topk", 0.1), ("jumprelu", 0.05)):
        for d_sae in (64, 128):
            for seed in (0, 1):
                for k in (4, 8):
                    made = {"reads": "hook", "architecture": architecture, "seed": seed}
                    for dictionary, size in (("trained", d_sae), ("PCA", 32), ("random", d_sae), ("neurons", 32)):
                        value = 0.05 * k + (better + d_sae / 1000 if dictionary == "trained" else 0)
                        measured = {"l0": float(k), "explained_variance": value, "loss_recovered_zero": value + 0.2}
                        rows.append(made | {"dictionary": dictionary, "d_sae": size} | measured)
    return pd.DataFrame(rows)


def test_pareto_has_a_point_for_each_dictionary_and_each_control_once_in_every_panel() -> None:
    results = results_of_a_sweep()
    chart = pareto(results)
    assert [panel["layer"][0]["encoding"]["y"]["title"] for panel in chart.to_dict()["hconcat"]] == [
        "explained variance",
        "loss recovered (against zero)",
    ]
    tables = [table for table in datasets(chart) if len(table)]
    trained = [table for table in tables if (table["dictionary"] == "trained").all()]
    controls = [table for table in tables if (table["dictionary"] != "trained").all()]
    assert [len(table) for table in trained] == [16, 16]
    for table in controls:  # PCA and neurons are the same beside every dictionary, random ones beside equal widths
        assert table.groupby("series").size().to_dict() == {"PCA": 2, "neurons": 2, "random": 4}


def test_pareto_tells_every_series_by_colour_and_by_shape() -> None:
    (panel, *_) = pareto(results_of_a_sweep()).to_dict()["hconcat"]
    (points,) = (layer for layer in panel["layer"] if "size" in layer["encoding"])
    for sign in ("color", "shape"):
        scale = points["encoding"][sign]["scale"]
        assert scale["domain"] == ["topk", "jumprelu", "neurons", "PCA", "random"]
        assert len(set(scale["range"])) == 5
    assert set(ARCHITECTURES) == set(SAES)
    assert len(set(ARCHITECTURES.values()) | set(DICTIONARIES.values())) == len(ARCHITECTURES) + len(DICTIONARIES) - 1


def test_pareto_draws_a_map_without_latents_as_a_level_and_leaves_out_what_is_worse_than_nothing() -> None:
    results = results_of_a_sweep().drop(columns="loss_recovered_zero")
    linear = results.iloc[:1].assign(dictionary="linear", l0=0.0, explained_variance=0.33)
    worse = results.iloc[:1].assign(dictionary="random", explained_variance=-5.0)
    chart = pareto(pd.concat([results, linear, worse]))
    (panel,) = chart.to_dict()["hconcat"]
    (rule,) = (layer for layer in panel["layer"] if layer["mark"]["type"] == "rule")
    assert chart.to_dict()["datasets"][rule["data"]["name"]][0]["explained_variance"] == 0.33
    assert min(table["explained_variance"].min() for table in datasets(chart) if len(table)) > 0
    assert all((table["l0"] > 0).all() or (table["series"] == "linear").all() for table in datasets(chart))


def test_pareto_has_a_row_of_panels_for_each_hook() -> None:
    results = results_of_a_sweep()
    rows = pareto(pd.concat([results, results.assign(reads="other")])).to_dict()["vconcat"]
    assert [row["title"] for row in rows] == ["hook", "other"]


VARIANTS = ("probe", "control task", "shuffled labels", "random subject", "majority", "type alone")


def probed(labels=("inside", "outside"), hooks=("hook_embed", "blocks.0.hook_resid_post"), probes=("logistic",)):
    """A table as a sweep makes it; `outside` could not be probed, and no rows of an untrained subject were given."""
    rng = np.random.default_rng(0)
    lines = []
    for hook in hooks:
        for probe in probes:
            for label in labels:
                for variant in VARIANTS:
                    value = 0.5 + rng.random() / 2
                    line = {"hook": hook, "probe": probe, "label": label, "variant": variant, "note": "", "classes": 2}
                    score = {"balanced_accuracy": value, "auroc": value if variant == "probe" else np.nan}
                    line |= score | {"balanced_accuracy_low": value - 0.1, "balanced_accuracy_high": value + 0.05}
                    missing = "no rows were given" if variant == "random subject" else ""
                    missing = "no probe: one class only" if label == "outside" else missing
                    lines.append(line | (dict.fromkeys(score, np.nan) | {"note": missing} if missing else {}))
    return pd.DataFrame(lines)


class TestProbeHeatmap:
    def cells(self, *args, **how) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Those with a number, and those with a cross."""
        chart = probe_heatmap(*args, **how)
        spec = chart.to_dict()
        return tuple(pd.DataFrame(spec["datasets"][layer["data"]["name"]]) for layer in spec["layer"][:2])

    def test_the_control_stands_beside_the_probe_on_the_same_scale(self) -> None:
        table = probed()
        full, empty = self.cells(table, control="type alone")
        shown = full.set_index(["panel", "row", "hook"])["value"]
        assert len(full) == len(empty) == 4
        for line in table[table["label"] == "inside"].to_dict("records"):
            if line["variant"] in ("probe", "type alone"):
                assert shown[line["variant"], "inside", line["hook"]] == line["balanced_accuracy"]
        spec = probe_heatmap(table, control="type alone").to_dict()["layer"][0]["encoding"]
        columns = spec["x"]["scale"]["domain"]
        assert columns == ["0 embed", "0 blocks.0.resid_post", "0 ", "1 embed", "1 blocks.0.resid_post"]
        low, high = spec["color"]["scale"]["domain"]
        assert low <= full["value"].min()
        assert high == 1

    def test_what_is_missing_has_a_cross_and_its_reason(self) -> None:
        table = probed()
        full, empty = self.cells(table[(table["label"] != "inside") | (table["hook"] != "hook_embed")], control=None)
        assert full["row"].tolist() == ["inside"]
        why = empty.set_index(["row", "hook"])["why"]
        assert why["outside", "hook_embed"] == "no probe: one class only"
        assert why["inside", "hook_embed"] == "not probed here"
        _, empty = self.cells(table, control="random subject")
        untrained = empty[(empty["panel"] == "random subject") & (empty["row"] == "inside")]
        assert untrained["why"].tolist() == ["no rows were given"] * 2
        _, empty = self.cells(table, "auroc", control="type alone")
        assert empty.loc[empty["row"] == "inside", "why"].str.startswith("AUROC is of two classes").all()

    def test_a_difference_is_the_probe_s_score_less_the_control_s_about_zero(self) -> None:
        table = probed()
        full, empty = self.cells(table, control="majority", difference=True)
        of = table[table["label"] == "inside"].set_index(["variant", "hook"])["balanced_accuracy"]
        np.testing.assert_allclose(full["value"], (of["probe"] - of["majority"])[full["hook"]])
        chart = probe_heatmap(table, control="majority", difference=True).to_dict()
        low, middle, high = chart["layer"][0]["encoding"]["color"]["scale"]["domain"]
        assert (low, middle) == (-high, 0)
        assert high == pytest.approx(full["value"].abs().max())
        _, empty = self.cells(table, control="random subject", difference=True)
        assert set(empty["why"]) == {"no rows were given", "no probe: one class only"}
        with pytest.raises(ValueError, match="a difference needs a control"):
            probe_heatmap(table, control=None, difference=True)

    def test_the_estimators_of_one_label_are_rows_too(self) -> None:
        table = probed(labels=["inside"], probes=["logistic", "mlp"])
        full, _ = self.cells(table, rows="probe", chosen="mlp")
        assert set(full["row"]) == {"logistic", "mlp"}
        with pytest.raises(ValueError, match="one line of every label, hook and variant"):
            probe_heatmap(table)

    def test_many_labels_and_hooks_fit_and_have_no_numbers(self) -> None:
        labels = [f"label {i}" for i in range(80)]
        hooks = [f"blocks.{i}.hook_resid_post" for i in range(12)]
        spec = probe_heatmap(probed(labels, hooks)).to_dict()
        assert spec["height"]["step"] * 80 < 1500
        assert spec["layer"][0]["encoding"]["y"]["scale"]["domain"] == labels
        few = probe_heatmap(probed(labels, hooks[:4])).to_dict()
        assert len(few["layer"]) == len(spec["layer"]) + 1

    def test_hooks_whose_names_would_fall_together_keep_them_whole(self) -> None:
        spec = probe_heatmap(probed(hooks=["hook_h", "h"]), control=None).to_dict()
        assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"] == ["0 hook_h", "0 h"]


class TestProbeByHook:
    def test_a_line_for_each_control_that_has_the_score_within_its_interval(self) -> None:
        table = probed(labels=["inside"])
        chart = probe_by_hook(table).to_dict()
        *_, points = chart["layer"]
        drawn = pd.DataFrame(chart["datasets"][points["data"]["name"]])
        present = points["encoding"]["color"]["scale"]["domain"]
        assert set(present) == set(VARIANTS) - {"random subject"}
        assert len(drawn) == 2 * len(present)
        assert points["encoding"]["x"]["scale"]["domain"] == ["hook_embed", "blocks.0.hook_resid_post"]
        wanted = table.dropna(subset="balanced_accuracy")
        np.testing.assert_allclose(drawn["value"], wanted["balanced_accuracy"])
        np.testing.assert_allclose(drawn["low"], wanted["balanced_accuracy_low"])
        assert [layer["mark"]["type"] for layer in chart["layer"]] == ["area", "area", "line", "point"]

    def test_one_hook_alone_has_upright_strokes(self) -> None:
        chart = probe_by_hook(probed(labels=["inside"], hooks=["hook_embed"])).to_dict()
        assert [layer["mark"]["type"] for layer in chart["layer"]] == ["rule", "rule", "line", "point"]

    def test_a_score_without_intervals_has_lines_alone(self) -> None:
        chart = probe_by_hook(probed(labels=["inside"]), "auroc").to_dict()
        assert [layer["mark"]["type"] for layer in chart["layer"]] == ["line", "point"]
        assert chart["layer"][1]["encoding"]["color"]["scale"]["domain"] == ["probe"]

    def test_several_labels_at_once_are_refused(self) -> None:
        with pytest.raises(ValueError, match="choose a label and an estimator"):
            probe_by_hook(probed())


def test_every_variant_of_a_report_has_a_colour_and_a_sign_of_its_own() -> None:
    assert set(PROBE_VARIANTS) == set(report.VARIANTS)
    chart = probe_by_hook(probed(labels=["inside"]).fillna({"balanced_accuracy": 0.5})).to_dict()
    points, line = chart["layer"][-1]["encoding"], chart["layer"][-2]["encoding"]
    signs = list(
        zip(
            points["color"]["scale"]["range"],
            points["shape"]["scale"]["range"],
            map(tuple, line["strokeDash"]["scale"]["range"]),
            strict=True,
        )
    )
    assert len(set(signs)) == len({shape for _, shape, _ in signs}) == len(VARIANTS)
