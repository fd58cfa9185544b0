"""Dictionaries compared where they are equally sparse."""

import math

import pandas as pd
import pytest

from workbench.reproductions import sae_frontier as result

L0S = (8, 32)


def frontier(offsets, seeds=(0, 1)):
    """Each architecture explains as much as its offset and log L0 say; no L0 is quite what was asked."""
    lines = []
    for name in (*result.ARCHITECTURES, *result.CONTROLS):
        for seed in seeds:
            for l0, miss in ((8, 0.9), (32, 1.1)):
                variance = 0.1 * math.log(l0 * miss) + offsets.get(name, 0) + 0.001 * seed
                worth = {"explained_variance": variance, "mse": 1 - variance, "l0": l0 * miss}
                worth |= {"loss_recovered_zero": 0.9, "loss_recovered_mean": 0.9, "dead_fraction": 0.0}
                lines.append({"architecture": name, "seed": seed, "l0_asked": l0} | worth)
    return pd.DataFrame(lines)


def test_a_gain_at_equal_l0_does_not_come_from_more_latents():
    found = frontier({"topk": 0.05})
    assert result.gains(found, "topk", "standard", "explained_variance") == pytest.approx([0.05, 0.05])
    more = found.copy()
    of_topk = more["architecture"] == "topk"
    more.loc[of_topk, "l0"] *= 2
    more.loc[of_topk, "explained_variance"] += 0.1 * math.log(2)
    assert result.gains(more, "topk", "standard", "explained_variance") == pytest.approx([0.05, 0.05])


def test_nobody_is_compared_where_he_never_was():
    found = frontier({"jumprelu": 0.05})
    found.loc[found["architecture"] == "jumprelu", "l0"] += 40
    assert all(math.isnan(gain) for gain in result.gains(found, "jumprelu", "standard", "explained_variance"))
    judged = {row.result: row for row in result.rows_of(found, L0S) if row.bar}
    row = judged["jumprelu: variance explained above L1's at equal L0"]
    assert (row.ours, row.passed) == ("never equally sparse", False)


def test_a_seed_in_which_nobody_could_be_compared_is_no_success():
    found = frontier({"topk": 0.05, "batchtopk": 0.06, "jumprelu": 0.05, "matryoshka_batchtopk": 0.02})
    apart = (found["architecture"] == "standard") & (found["seed"] == 1)
    found.loc[apart, "l0"] += 40
    over = result.gains(found, "topk", "standard", "explained_variance")
    assert (over[0], math.isnan(over[1])) == (pytest.approx(0.05), True)
    judged = {row.result: row for row in result.rows_of(found, L0S) if row.bar}
    assert not judged["topk: variance explained above L1's at equal L0"].passed


def test_the_ordering_is_judged_in_every_seed():
    good = {"topk": 0.05, "batchtopk": 0.06, "jumprelu": 0.01, "matryoshka_batchtopk": 0.02}
    judged = [row for row in result.rows_of(frontier(good), L0S) if row.bar]
    assert len(judged) == 4
    assert all(row.passed for row in judged)
    found = frontier(good)
    bad = (found["architecture"] == "jumprelu") & (found["seed"] == 1)
    found.loc[bad, "explained_variance"] -= 0.05
    assert [row.passed for row in result.rows_of(found, L0S) if row.bar] == [True, True, False, True]
    swapped = frontier(good | {"matryoshka_batchtopk": 0.07})
    assert [row.passed for row in result.rows_of(swapped, L0S) if row.bar] == [True, True, True, False]


def test_those_without_a_k_are_steered_to_the_l0():
    for name in result.ARCHITECTURES:
        cfg, how = result.wanted(16, 64, name, 8, seed=0, n_rows=1000)
        assert (cfg.k, how.target_l0) == ((8, None) if "topk" in name else (None, 8))
