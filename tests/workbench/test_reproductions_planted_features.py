"""Marks that a dictionary of the planted directions must get, and settings that fit the task."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.tasks.planted_features import PlantedFeatures
from workbench.reproductions import Bench
from workbench.reproductions import planted_features as result
from workbench.runs import Run
from workbench.sae import SAEConfig, TopK

TASK = PlantedFeatures(n_features=12, d_in=12, n_active=2, zipf=0, n_labelled=0)


def the_truth(task):
    """A dictionary of the planted directions that reads them without error: for as many dimensions as features."""
    W_dec = torch.from_numpy(task.dictionary)
    weights = {"W_enc": torch.linalg.inv(W_dec), "W_dec": W_dec, "b_enc": torch.full((12,), -1e-3)}
    cfg = SAEConfig(d_in=12, d_sae=12, k=12)
    return TopK.from_weights(cfg, weights | {"b_dec": torch.zeros(12)}).requires_grad_(False)


def test_the_truth_has_full_marks():
    x, codes = result.draw(TASK, 2000, np.random.default_rng(0))
    found = result.marked(the_truth(TASK), TASK, x, codes)
    for name in ("mmcs_of_true", "mmcs_of_found", "mcc", "mcc_coverage", "feature_f1", "explained_variance"):
        assert found[name] == pytest.approx(1, abs=0.02), name
    assert "absorption" not in found
    assert result.marked(the_truth(TASK), replace(TASK, n_children=3), x, codes)["absorption"] == 0


def test_batches_are_fresh_and_the_same_each_time():
    rows = result.PlantedRows(TASK, seed=3, size=7)
    (first, second), again = ([x for x, _ in zip(rows, range(2), strict=False)] for _ in range(2))
    assert not torch.equal(first, second)
    torch.testing.assert_close(again, [first, second], rtol=0, atol=0)


@pytest.mark.parametrize("architecture", result.ARCHITECTURES)
def test_each_architecture_is_asked_for_the_task_s_sparsity(architecture):
    cfg, how = result.wanted(TASK, architecture, 0, 1000)
    asked = cfg.k if cfg.k is not None else how.target_l0
    assert TASK.n_active <= asked <= 1.3 * TASK.n_active
    assert (cfg.d_in, cfg.d_sae) == (TASK.d_in, TASK.n_features)


def test_the_table_has_every_architecture_on_both_kinds_of_features_and_is_made_once(tmp_path, monkeypatch):
    for name in ("INDEPENDENT", "HIERARCHICAL"):
        children = 3 if name == "HIERARCHICAL" else 0
        monkeypatch.setattr(result, name, replace(TASK, n_children=children))
    monkeypatch.setattr(result, "N_ROWS", 2048)
    monkeypatch.setattr(result, "N_HELD_OUT", 500)
    told = []
    bench = Bench(Run.create(tmp_path / "root/planted/quick").path, full=False, tell=told.append)
    rows = result.reproduce(bench)
    assert len(told) == 2
    assert [row.passed is not None for row in rows].count(True) == 3 * len(result.ARCHITECTURES) + 2
    for architecture in result.ARCHITECTURES:
        assert sum(row.result.startswith(f"{architecture}:") for row in rows) == 4
    assert result.reproduce(bench) == rows
    assert len(told) == 2
