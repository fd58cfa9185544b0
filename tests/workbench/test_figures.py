"""Figures: a table in, a chart out, whose data and marks are those of the table."""

import altair as alt
import numpy as np
import pandas as pd
import pytest

from workbench.figures import (
    activation_histogram,
    concept_gain,
    density_histogram,
    dictionary_comparison,
    naming_fractions,
    training_curve,
)
from workbench.figures.palette import DICTIONARIES
from workbench.figures.training_curve import losses_and_baselines


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
    ],
)
def test_a_table_of_something_else_is_refused_in_one_sentence(draw) -> None:
    with pytest.raises(ValueError, match="the table lacks"):
        draw(pd.DataFrame({"x": [1.0]}))
