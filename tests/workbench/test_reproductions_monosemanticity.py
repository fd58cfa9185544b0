"""The best feature against the best neuron, on labels that one of them says by itself."""

import numpy as np
import pandas as pd
import pytest
import torch

from probes.detection import Confusion
from tests.small_python_source import D_MLP, small_source
from workbench.features.naming.rows import naming_rows, read_positions
from workbench.reproductions import monosemanticity as result
from workbench.reproductions.python_source import HOOK
from workbench.sae import SAEConfig, TopK


def test_the_median_gain_is_the_median_of_differences_and_its_interval_that_of_whole_documents():
    rng = np.random.default_rng(0)
    positives = rng.integers(20, 40, (5, 30))
    ours = [Confusion(p // 2, p, p, np.full(30, 100)) for p in positives]
    theirs = [Confusion(p // 4, p, p, np.full(30, 100)) for p in positives]
    chosen = np.array([True, True, True, False, True])
    found = result.median_gain(ours, theirs, chosen)
    gains = [a.f1 - b.f1 for a, b, keep in zip(ours, theirs, chosen, strict=True) if keep]
    assert found["n_concepts"] == 4
    assert found["median"] == pytest.approx(np.median(gains), abs=1e-6)
    assert found["low"] < found["median"] < found["high"]
    assert found["clear"] == np.mean(np.array(gains) >= 0.2)


def test_documents_that_disagree_make_a_wide_interval():
    alike = np.full(20, 10)
    half = np.where(np.arange(20) % 2, 10, 0)
    steady = result.median_gain(
        [Confusion(alike // 2, alike, alike, alike)], [Confusion(alike * 0, alike, alike, alike)], np.array([True])
    )
    torn = result.median_gain(
        [Confusion(half, alike, alike, alike)], [Confusion(alike * 0, alike, alike, alike)], np.array([True])
    )
    assert steady["high"] - steady["low"] < 1e-6
    assert torn["median"] == pytest.approx(steady["median"])
    assert torn["high"] - torn["low"] > 0.2


def test_a_dictionary_of_the_neurons_themselves_gains_nothing_over_them(tmp_path):
    source = small_source(tmp_path)
    rows = naming_rows(source.store, read_positions(source.store), 30, bos=0)
    identity = torch.eye(D_MLP)
    weights = {"W_enc": identity, "W_dec": identity, "b_enc": torch.zeros(D_MLP), "b_dec": torch.zeros(D_MLP)}
    cfg = SAEConfig(d_in=D_MLP, d_sae=D_MLP, k=D_MLP, hook_name=HOOK)
    sae = TopK.from_weights(cfg, weights).requires_grad_(False).eval()
    silent = TopK.from_weights(cfg, weights | {"b_enc": torch.full((D_MLP,), -1e3)}).requires_grad_(False).eval()
    table, medians = result.compare_concepts(source, rows, {"trained": sae, "random": silent})
    assert table["concept"].tolist() == rows.names
    assert (table["random"] == 0).all()
    # A neuron is read with both signs, a feature only where it is positive.
    assert (table["trained"] <= table["neurons"] + 0.1).all()
    assert table["trained"].max() > 0.3
    assert table["token_f1"].min() == 1  # these labels are nothing but sets of tokens
    assert medians.set_index("concepts")["n_concepts"].to_dict() == {"all": len(table)}


def worth(**changes):
    lines = []
    for name in ("trained", "random", "PCA", "neurons"):
        numbers = {"loss_recovered_zero": 0.9, "loss_recovered_mean": 0.9, "explained_variance": 0.8, "l0": 16.0}
        numbers |= {"dead_fraction": 0.05, "d_sae": 64, "rows": 1000.0}
        lines += [{"dictionary": name, "seed": seed} | numbers | (changes if seed else {}) for seed in (0, 1)]
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({}, [True, True, True]),
        ({"loss_recovered_zero": 0.78}, [False, True, True]),
        ({"l0": 21.0}, [True, False, True]),
        ({"dead_fraction": 0.11}, [True, True, False]),
    ],
)
def test_every_seed_must_reach_the_bars(changes, passed):
    assert [row.passed for row in result.worth_rows(worth(**changes)) if row.bar] == passed
