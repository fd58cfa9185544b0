"""Dictionaries of a reproduction: trained once, together, and again when anything about them has changed."""

from dataclasses import replace

import pytest
import torch

from workbench.reproductions import Bench
from workbench.reproductions.dictionaries import Wanted, dictionaries
from workbench.runs import Run
from workbench.sae import SAEConfig, SAETrainConfig, train_sae

HOW = SAETrainConfig(n_tokens=400, batch_size=50)


def rows():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(50, 6, generator=generator) for _ in range(8)]


def asked(**seeds):
    return {name: Wanted(SAEConfig(d_in=6, d_sae=12, k=2, seed=seed), HOW) for name, seed in seeds.items()}


@pytest.fixture
def bench(tmp_path):
    told = []
    return Bench(Run.create(tmp_path / "bench").path, full=False, tell=told.append), told


def test_each_is_the_one_that_would_be_trained_alone(bench):
    made = dictionaries(bench[0], asked(a=0, b=1), rows())
    for name, (cfg, how) in asked(a=0, b=1).items():
        alone = train_sae(cfg, rows(), how)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(made[name].state_dict()[key], value, rtol=0, atol=0)
    assert [(a.kind, a.name, a.stale) for a in Run.open(bench[0].path).artifacts()] == [
        ("sae", "a", False),
        ("sae", "b", False),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"wanted": asked(a=0, b=2)},
        {"wanted": asked(a=0) | {"b": Wanted(asked(b=1)["b"].cfg, replace(HOW, lr=0.1))}},
    ],
)
def test_what_has_changed_is_trained_anew_and_nothing_else(bench, changed):
    bench, told = bench
    first = dictionaries(bench, asked(a=0, b=1), rows())
    again = dictionaries(bench, asked(a=0, b=1), rows())
    assert told == ["training a, b"]
    torch.testing.assert_close(again["b"].W_dec, first["b"].W_dec, rtol=0, atol=0)
    other = dictionaries(bench, changed["wanted"], rows())
    assert told == ["training a, b", "training b"]
    assert not torch.equal(other["b"].W_dec, first["b"].W_dec)


def test_other_rows_make_other_dictionaries(bench):
    bench, told = bench
    for origin in ({"rows": {"seed": 0}}, {"rows": {"seed": 1}}, {"inputs": {"../x/activations/y": "abc"}}):
        dictionaries(bench, asked(a=0), rows(), **origin)
    assert told == ["training a"] * 3
