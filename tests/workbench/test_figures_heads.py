"""Figures of what heads' weights say: what is drawn is what the table says, random matrices beside it."""

import altair as alt
import numpy as np
import pandas as pd
import pytest

from workbench.figures import (
    position_spectrum,
    rotary_frequencies,
    singular_values,
    token_pairs,
    virtual_heads,
)
from workbench.figures.palette import NEURONS, RANDOM

WICKED = "<script>window.wicked = 1</script>"


def layers(chart: alt.TopLevelMixin) -> list[tuple[dict, pd.DataFrame]]:
    """The marks inside a chart, each with its table; building them validates the chart against Vega-Lite's schema."""
    spec = chart.to_dict()
    tables = spec["datasets"]
    top = spec.get("data", {})
    return [(layer, pd.DataFrame(tables[layer.get("data", top)["name"]])) for layer in spec["layer"]]


def fields(layer: dict) -> set[str]:
    return {of["field"] for of in layer["encoding"].values() if isinstance(of, dict) and "field" in of}


def grey(chart: alt.TopLevelMixin) -> set[str]:
    """What is drawn in the colour of chance."""
    found = [fields(layer) for layer, _ in layers(chart) if layer["mark"].get("color") == RANDOM]
    return set().union(*found)


def spectrum() -> pd.DataFrame:
    return pd.DataFrame(
        {"frequency": [1, 2], "period": [4.0, 2.0], "value": [0.9, 0.1], "random_mean": 0.5, "random_high": 0.7}
    )


def values() -> pd.DataFrame:
    return pd.DataFrame(
        {"circuit": "OV", "direction": [0, 1], "value": [3.0, 1.0], "share": [0.9, 0.1], "random_mean": [2.0, 1.5],
         "random_high": [2.5, 1.8]}
    )  # fmt: skip


def pairs() -> pd.DataFrame:
    own = {"circuit": "QK", "variant": "head", "rank": [1, 2], "deviations": [9.0, 4.0]}
    random = {"circuit": "QK", "variant": "random matrices", "rank": [1, 2, 1, 2], "deviations": [5.0, 4.0, 6.0, 3.0]}
    words = {"from_text": " a", "to_text": WICKED}
    return pd.concat([pd.DataFrame(own | words), pd.DataFrame(random | words)], ignore_index=True)


def virtual() -> pd.DataFrame:
    return pd.DataFrame(
        {"from_layer": [0, 0, 0], "from_head": [0, 0, 1], "to_layer": [pd.NA, 1, 1], "to_head": [pd.NA, 0, 1],
         "share": [0.5, 0.3, 0.2], "composition": [np.nan, 0.4, 0.1], "copying": [0.9, 0.5, -0.2],
         "random_copying_high": [0.1, 0.2, 0.2], "random_composition_high": [np.nan, 0.3, 0.3]}
    ).astype({"to_layer": "Int64", "to_head": "Int64"})  # fmt: skip


def rotations() -> pd.DataFrame:
    return pd.DataFrame(
        {"layer": 0, "head": [0, 0, 0, 1, 1, 1], "pair": pd.array([0, 1, pd.NA] * 2, "Int64"),
         "wavelength": [6.28, 62.8, np.nan] * 2, "value": [0.8, 0.1, 0.1, 0.2, 0.3, 0.5],
         "random_mean": 1 / 3, "random_high": 0.6}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("chart", "shown"),
    [
        (lambda: position_spectrum(spectrum()), {"frequency", "random_mean", "random_high"}),
        (lambda: singular_values(values()), {"direction", "random_mean", "random_high"}),
        (lambda: token_pairs(pairs()), {"pair", "random"}),
        (lambda: virtual_heads(virtual()), {"random_composition_high", "random_copying_high"}),
    ],
)
def test_chance_is_drawn_in_grey(chart, shown):
    assert grey(chart()) >= {name for name in shown if name.startswith("random")}


def test_pairs_stand_beside_the_random_head_s_of_the_same_rank():
    _, table = layers(token_pairs(pairs()))[0]
    assert table["deviations"].tolist() == [9.0, 4.0]
    assert table["random"].tolist() == [6.0, 4.0], "the highest of several random heads"
    assert table["from"].tolist() == ["·a", "·a"], "white space is seen"
    assert table["pair"].str.len().max() < 40, "a long token is cut"
    assert table["pair"].is_unique


def test_single_heads_are_no_pairs_and_the_chosen_one_s_are_another_colour():
    dots = layers(virtual_heads(virtual(), chosen="1.1"))[-1]
    assert dots[1]["pair"].tolist() == ["0.0 → 1.0", "0.1 → 1.1"]
    assert dots[1]["of"].tolist() == ["other pairs", "with head 1.1"]
    assert dots[0]["encoding"]["color"]["scale"]["range"][0] == NEURONS


def test_rotations_are_in_the_order_of_their_speed_with_random_heads_below():
    found = layers(rotary_frequencies(rotations()))
    cells = next((layer, table) for layer, table in found if "color" in layer["encoding"])
    assert [at[2:] for at in cells[0]["encoding"]["x"]["scale"]["domain"]] == ["6.28", "62.8", "not turned"]
    assert [at[2:] for at in cells[0]["encoding"]["y"]["scale"]["domain"]] == ["0.0", "0.1", "random"]
    assert cells[1].loc[cells[1]["marked"].astype(bool), ["row", "column"]].to_numpy().tolist() == [["0.0", "6.28"]]
    random = cells[1][cells[1]["row"] == "random"]
    assert random["value"].tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: singular_values(pd.concat([values(), values()])), "one head's one circuit"),
        (lambda: token_pairs(pd.concat([pairs(), pairs()])), "one head's one circuit"),
        (lambda: virtual_heads(virtual().head(1)), "no pair to draw"),
        (lambda: position_spectrum(spectrum().drop(columns="random_high")), "lacks random_high"),
        (lambda: rotary_frequencies(rotations().drop(columns="random_mean")), "lacks random_mean"),
    ],
)
def test_what_cannot_be_drawn_is_said(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
