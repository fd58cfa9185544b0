"""The compiled circuit, searched: what the table says of rankings that are known."""

import pandas as pd
import pytest
import torch

from models.compiled import compiled_induction
from workbench.figures import edge_recovery
from workbench.reproductions import compiled_circuit
from workbench.reproductions.compiled_circuit import D_VOCAB, METHODS, N_CTX, Searched, induced, sequences, summed_up


def test_what_is_asked_is_what_the_compiled_transformer_says():
    tokens = sequences(16, 3)
    model, _ = compiled_induction(D_VOCAB, N_CTX)
    assert torch.equal(model(tokens).argmax(-1), induced(tokens))
    assert (induced(tokens)[:, 1:] != 0).any()


def test_zero_ablation_finds_the_circuit_and_random_scores_do_not(monkeypatch):
    for name, value in {"THRESHOLDS": (0.01,), "STEPS": 5, "N_CONTROLS": 40}.items():
        monkeypatch.setattr(compiled_circuit, name, value)
    table = Searched("zero", 0, n=4).recovery()
    assert set(table["method"]) == set(METHODS.values())
    found = table.groupby("method")["auc"].mean()
    for method in ("acdc", "integrated gradients", "cut alone"):
        assert found[METHODS[method]] >= 0.99
    assert found[METHODS["attribution"]] < 0.9  # hard attention has no slope
    assert found[METHODS["random scores"]] == pytest.approx(0.5, abs=0.1)


def test_the_fewest_edges_that_do_are_those_that_the_ablation_takes_something_from(monkeypatch):
    monkeypatch.setattr(compiled_circuit, "N_EXHAUSTIVE", 2)
    tables = {ablation: Searched(ablation, 0, n=8).needed() for ablation in ("zero", "position mean")}
    assert tables["zero"]["as_known"].all()
    assert tables["zero"]["needed"].sum() == 8
    assert tables["position mean"]["needed"].sum() == 5  # three of the eight carry positions alone


def test_the_figure_has_a_mark_for_every_method_and_chance():
    recovery = pd.DataFrame(
        [
            {"ablation": a, "method": m, "auc": x, "sequences_seed": s}
            for a in ("zero", "mean")
            for m, x in (("ACDC", 1.0), ("random scores", 0.4))
            for s in (0, 1)
        ]
    )
    table = summed_up(recovery)
    assert table[["auc", "low", "high"]].drop_duplicates().values.tolist() == [[1.0] * 3, [0.4] * 3]
    spec = edge_recovery(table).to_dict()
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["rule", "rule", "point"]
    with pytest.raises(ValueError, match="one line of every ablation and method"):
        edge_recovery(pd.concat([table, table]))
    with pytest.raises(ValueError, match="needs the columns"):
        edge_recovery(table.drop(columns="auc"))
