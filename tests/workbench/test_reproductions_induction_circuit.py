"""The links of an induction circuit, on one that was set by hand."""

import pandas as pd
import pytest
import torch

from models import Transformer
from models.compiled import compiled_induction
from models.tasks.repeated_pairs import induction_pairs
from models.tasks.repeated_sequences import RepeatedSequences
from workbench.attention.composition import random_composition
from workbench.attention.weights import weights_of
from workbench.reproductions import induction_circuit
from workbench.reproductions.induction_links import examine, largest_composition, named
from workbench.reproductions.induction_measures import RepeatLoss

TASK = RepeatedSequences(n_symbols=10, min_period=4, max_period=6, max_prefix=2, n_ctx=16)


@pytest.fixture(scope="module")
def tables():
    """What is found of the compiled transformer, in the place of one that was trained, and of one layer."""
    model, _ = compiled_induction(11, 16)
    before = Transformer(model.cfg).eval()
    tokens, pairs = TASK.dataset(40).tokens, induction_pairs(TASK, 40)
    single = Transformer(model.cfg.from_dict(model.cfg.to_dict() | {"n_layers": 1})).eval()
    two = examine(model, before, tokens[:20], tokens[20:], pairs, TASK)
    one = examine(single, single, tokens[:20], tokens[20:], pairs, TASK)
    both = {name: [table.assign(subject="two-layers-0")] for name, table in two.items()}
    for name, table in one.items():
        both[name].append(table.assign(subject="one-layer-0"))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in both.items()}


def test_the_heads_of_the_compiled_circuit_are_named():
    model, _ = compiled_induction(11, 16)
    circuit = named(model, TASK.dataset(20).tokens)
    assert (circuit.previous, circuit.induction) == ((0,), (0,))


def test_only_the_paths_of_the_compiled_circuit_restore_the_answer(tables):
    paths = tables["paths"].query("variant == 'patch'").set_index(["sender", "receiver"])["effect"]
    true = {("0.0", "1.0 k"), ("first layer", "1.0 k"), ("1.0", "logits")}
    assert true <= set(paths.index)
    for path, effect in paths.items():
        assert effect == pytest.approx(float(path in true), abs=1e-3), path


def test_only_the_heads_of_the_compiled_circuit_are_missed(tables):
    lost = tables["ablation"].query("variant == 'ablation'").set_index("hook")["effect"]
    assert lost["previous-token heads"] > 1
    assert lost["induction heads"] > 1
    assert lost[["other heads of layer 0", "other heads of layer 1"]].tolist() == pytest.approx([0, 0], abs=1e-5)


def test_every_bar_is_met_by_the_compiled_circuit_beside_its_controls(tables):
    rows = induction_circuit._rows(tables, TASK)
    missed = [row.result for row in rows if not row.passed]
    assert len(rows) == 14
    assert missed == []
    assert sum("untrained" in row.ours or "random direction" in row.ours for row in rows) >= 10


def test_a_subject_without_the_circuit_meets_none_of_its_bars(tables):
    broken = {name: table.copy() for name, table in tables.items()}
    for name in ("subjects", "heads"):
        table = broken[name]
        numbers = table.select_dtypes("number").columns
        trained, untrained = (table["variant"] == variant for variant in ("trained", "untrained"))
        table.loc[trained, numbers] = table.loc[untrained, numbers].to_numpy()
    for name, column in (("paths", "effect"), ("ablation", "effect"), ("composition", "value"), ("matching", "value")):
        broken[name][column] = 0.0
    met = [row.result for row in induction_circuit._rows(broken, TASK) if row.passed]
    assert met == [
        "the same with one layer",
        "the same to their queries and values, the larger",
    ]


@pytest.mark.parametrize(
    ("table", "where", "column", "value", "missed"),
    [
        (
            "ablation",
            "hook == 'induction heads' and variant == 'random direction'",
            "effect",
            10.0,
            ["without the ind"],
        ),
        ("paths", "receiver == 'logits' and variant == 'random direction'", "effect", -0.6, ["heads to the logits"]),
        ("paths", "sender == 'first layer' and variant == 'random direction'", "effect", 0.6, ["heads' keys"]),
        ("paths", "sender == '0.0' and variant == 'random direction'", "effect", 0.6, ["one at a time"]),
        ("heads", "named == 'induction'", "copying_high", 1.0, ["copying"]),
        ("composition", "kind == 'K'", "largest_high", 1.0, ["K-composition"]),
    ],
)
def test_a_bar_is_missed_where_the_control_does_as_much(tables, table, where, column, value, missed):
    beside = {name: frame.copy() for name, frame in tables.items()}
    rows = beside[table].query(where).index
    assert len(rows)
    beside[table].loc[rows, column] = value
    results = [row.result for row in induction_circuit._rows(beside, TASK) if not row.passed]
    assert len(results) == len(missed)
    for result, part in zip(results, missed, strict=True):
        assert part in result


def test_the_largest_of_several_pairs_is_held_against_the_largest_of_as_many():
    model, _ = compiled_induction(11, 16)
    weights = weights_of(model)
    one, three = (largest_composition(model, n, draws=400) for n in (1, 3))
    drawn = random_composition(weights.d_model, weights.d_head, 4000, 1)
    assert one < three
    # Below the 99th percentile of the largest of three are .99^⅓ of all.
    assert float((drawn < three).double().mean()) == pytest.approx(0.99 ** (1 / 3), abs=0.003)


def test_the_loss_of_a_sequence_is_that_of_what_the_repeat_makes_known():
    tokens = TASK.dataset(5).tokens
    output = torch.randn(5, 16, 11, generator=torch.Generator().manual_seed(0))
    found = RepeatLoss(TASK)(output, {"input": tokens})
    for row in range(5):
        seen, losses = set(), []
        for at in range(15):
            known = int(tokens[row, at]) in seen and int(tokens[row, at + 1]) in seen
            seen.add(int(tokens[row, at]))
            if known:
                losses.append(-output[row, at].log_softmax(-1)[tokens[row, at + 1]])
        assert len(losses) >= 3
        assert float(found[row]) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)


def test_the_paths_are_drawn_beside_turned_ones(tables):
    spec = str(induction_circuit.path_graph(tables["paths"]).to_dict())
    assert "random direction" in spec
    assert "1.0 k" in spec
