"""Figures that reproductions keep beside their tables: what they sum up over seeds, and what they are held against."""

import numpy as np
import pandas as pd
import pytest

from workbench.reproductions.error_curves import scores_over_seeds
from workbench.reproductions.path_integration import place_errors
from workbench.reproductions.portraits import beside_untrained


def test_scores_of_several_seeds_are_their_median_between_the_least_and_the_largest() -> None:
    found = pd.DataFrame({"decoder": "a", "variant": "decoder", "r2": [0.1, 0.9, 0.6], "seed": [0, 1, 2]})
    table = scores_over_seeds(found, "r2")
    assert table.to_dict("records") == [
        {"decoder": "a", "variant": "decoder", "r2": 0.6, "r2_low": 0.1, "r2_high": 0.9},
    ]
    alone = scores_over_seeds(found.head(1), "r2")
    assert alone["r2"].tolist() == [0.1]
    assert alone[["r2_low", "r2_high"]].isna().all(axis=None), "one number has no spread"


def errors() -> pd.DataFrame:
    """Position by one decoder of the subject and of place cells, with everything beside it; headings too."""
    lines = [
        ("position", "trained", "kalman", "decoder", 0.2, np.nan),
        ("position", "trained", "kalman", "shuffled", 0.8, np.nan),
        ("position", "trained", "kalman", "shuffled", 1.0, np.nan),
        ("position", "trained", "", "mean", 0.9, np.nan),
        ("position", "untrained", "kalman", "decoder", 0.7, np.nan),
        ("position", "untrained", "", "mean", 0.9, np.nan),
        ("position", "place", "kalman", "decoder", 0.4, 0.3),
        ("position", "place", "", "mean", 0.9, 0.3),
        ("heading", "trained", "kalman", "decoder", 3.0, np.nan),
    ]
    return pd.DataFrame(lines, columns=["variable", "population", "decoder", "variant", "rms", "bound"]).assign(seed=0)


def test_errors_of_places_stand_beside_every_control_and_below_them_the_bound() -> None:
    table = place_errors(errors(), side=2.0).set_index(["decoder", "variant"])
    assert table["error"].to_dict() == {
        ("states: kalman", "decoder"): 0.1,
        ("states: kalman", "shuffled"): 0.45,
        ("states: kalman", "random subject"): 0.35,
        ("states: kalman", "mean"): 0.45,
        ("place cells: kalman", "decoder"): 0.2,
    }
    assert table.loc[("place cells: kalman", "decoder"), "bound"] == 0.15


def portrait() -> pd.DataFrame:
    rows = [
        (seed, stage, what, 0 if what != "point" else None, 0 if what != "point" else None, 0, "stable", 0.5, 1.0, 2.0)
        for seed in (0, 1)
        for stage in ("trained", "untrained")
        for what in ("trajectory", "point")
    ]
    columns = ["seed", "stage", "what", "path", "step", "point", "kind", "total", "pc1", "pc2"]
    return pd.DataFrame(rows, columns=columns)


def test_a_portrait_shows_the_first_seed_trained_beside_untrained() -> None:
    facts = {"point": 0, "kind": "stable", "n_unstable": 0, "modulus": 0.5, "time_constant": 1.0, "q": 0.0, "basin": 1}
    stages = [
        {"seed": seed, "stage": stage} | facts for seed in (0, 1) for stage in ("trained", "untrained", "trained")
    ]
    spec = beside_untrained(portrait(), pd.DataFrame(stages), "total").to_dict()
    assert [part["title"] for part in spec["hconcat"]] == ["trained: 2 points", "untrained: 1 point"]
    with pytest.raises(ValueError, match="state_portrait needs the columns"):
        beside_untrained(portrait().drop(columns="total"), pd.DataFrame(stages), "total")
