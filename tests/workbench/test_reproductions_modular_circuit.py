"""The circuit of modular addition, in a network whose embedding and read-out were set to a few frequencies by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from models import Transformer, TransformerConfig
from models.tasks.modular_addition import ModularAddition
from workbench.figures.frequency_ablation import frequency_ablation
from workbench.interventions import Subspace
from workbench.reproductions import grokking_measures as measures
from workbench.reproductions import modular_circuit
from workbench.reproductions.modular_circuit import (
    ALL_BUT_RANDOM,
    ALL_ELSE,
    EMBEDDING,
    INTACT,
    KEYS,
    NEURONS,
    OTHERS,
    RANDOM,
    RESIDUAL,
    WHOLE,
    ablated,
    waves,
)

TASK, FREQUENCY = ModularAddition(p=13), 3
AMONG = torch.rand(13, 13, generator=torch.Generator().manual_seed(0)) < 0.5


def subject():
    cfg = {"n_layers": 1, "d_model": 40, "n_heads": 2, "d_mlp": 64, "act_fn": "relu", "normalization_type": None}
    model = Transformer(TransformerConfig(**cfg, **TASK.shape))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def model():
    return subject()


@pytest.fixture(scope="module")
def table(model):
    return ablated(model, TASK, [FREQUENCY], AMONG)


def test_at_each_site_the_waves_are_what_the_weights_have_of_them(model):
    x = np.arange(13)
    cos = torch.from_numpy(np.cos(2 * np.pi * FREQUENCY * x / 13)) * math.sqrt(2 / 13)
    at = 2 * FREQUENCY - 2  # after both of the frequencies below it
    W_U = model.W_U[:, 1:14].detach().double()
    torch.testing.assert_close(waves(model, TASK, EMBEDDING)[at], cos @ model.W_E[1:14].detach().double())
    torch.testing.assert_close(waves(model, TASK, RESIDUAL)[at], W_U @ cos)
    torch.testing.assert_close(waves(model, TASK, NEURONS)[at], model.W_out[0].detach().double() @ W_U @ cos)
    assert waves(model, TASK, NEURONS).shape == (12, 64)


def logits_of(model):
    return measures.all_pairs(model, TASK)[0]


def of_numbers(logits):
    """What of the logits is a wave of the frequency over the numbers, whatever it is over the pairs."""
    spectrum = torch.fft.rfft(logits - logits.mean((0, 1)), dim=-1)
    return spectrum.abs().square().sum((0, 1))


def test_without_a_frequency_in_the_stream_the_logits_have_no_wave_of_it_and_with_it_alone_no_other(model):
    tokens, hook = TASK.all_pairs(), "blocks.0.hook_resid_post"
    _, cache = model.run_with_cache(tokens, names_filter=hook)
    centre = cache[hook][:, -1].double().mean(0).detach()
    edits = {what: edit for what, seed, edit in modular_circuit._edits(waves(model, TASK, RESIDUAL), centre, TASK, [3])}
    last = torch.tensor([False, False, False, True])

    def under(what):
        with model.hooks(fwd_hooks=modular_circuit.edit_at(model, tokens, hook, edits[what], last)):
            return of_numbers(logits_of(model))

    whole = of_numbers(logits_of(model))
    assert under(KEYS)[3] < 1e-6 * whole[3]
    torch.testing.assert_close(under(OTHERS)[3], whole[3], rtol=1e-4, atol=0)
    torch.testing.assert_close(under(ALL_ELSE)[3], whole[3], rtol=1e-4, atol=0)
    assert under(WHOLE).sum() < 1e-6 * whole.sum()


def test_every_ablation_is_there_at_each_site_with_as_many_directions_as_its_control(table):
    for site, width in ((EMBEDDING, 40), (NEURONS, 64), (RESIDUAL, 40)):
        of = table[table["site"] == site]
        directions = of.groupby("ablated")["directions"].unique().map(list).to_dict()
        assert directions == {
            INTACT: [0],
            KEYS: [2],
            OTHERS: [2],
            RANDOM: [2],
            ALL_ELSE: [width - 2],
            ALL_BUT_RANDOM: [width - 2],
            WHOLE: [width],
        }
        assert set(of["ablation"]) == {"mean"}
        assert of[of["ablated"] == RANDOM]["seed"].tolist() == list(range(modular_circuit.N_DRAWS))


def test_losses_are_the_networks_own_and_with_nothing_left_every_pair_gets_one_answer(model, table):
    logits = logits_of(model)
    intact = table[table["ablated"] == INTACT]
    np.testing.assert_allclose(intact["test_loss"], measures.pair_loss(logits, ~AMONG), rtol=1e-6)
    np.testing.assert_allclose(intact["train_accuracy"], measures.pair_accuracy(logits, AMONG), rtol=1e-6)
    nothing = table[(table["ablated"] == WHOLE) & (table["site"] == RESIDUAL)].iloc[0]
    constant = logits.mean((0, 1)).expand_as(logits)
    assert nothing["test_loss"] == pytest.approx(measures.pair_loss(constant, ~AMONG), rel=1e-5)


def test_of_numbers_on_one_circle_the_waves_of_its_frequency_are_the_circles_plane_and_there_are_no_others():
    model = subject()
    plane = torch.linalg.qr(torch.randn(40, 2, generator=torch.Generator().manual_seed(2))).Q
    angle = 2 * math.pi * FREQUENCY * torch.arange(13) / 13
    circle = torch.stack([angle.cos(), angle.sin()], 1) @ plane.T
    with torch.no_grad():
        model.W_E[TASK.numbers] = circle
        model.W_U[:, TASK.numbers] = 40 * circle.T
    for site in (EMBEDDING, RESIDUAL):
        found = waves(model, TASK, site)
        assert torch.linalg.matrix_rank(found, rtol=1e-5) == 2
        own = Subspace.along(found[2 * FREQUENCY - 2 : 2 * FREQUENCY])
        torch.testing.assert_close(own.coordinates(torch.eye(40).double()) @ own.write, (plane @ plane.T).double())


def test_bars_are_judged_of_the_trained_subjects_and_every_site_is_drawn(table):
    made = table.assign(subject="a", p=13, stage="trained", frequencies="3")
    blank = made.assign(stage="untrained")
    good = {INTACT: (0.0, 1.0), KEYS: (5.0, 0.0), ALL_ELSE: (0.0, 1.0), OTHERS: (0.0, 1.0), RANDOM: (0.0, 1.0)}
    for what, (loss, right) in good.items():
        made.loc[made["ablated"] == what, ["test_loss", "test_accuracy"]] = loss, right
    both = pd.concat([blank, made])
    rows = modular_circuit._rows(both)
    assert [row.passed for row in rows] == [None] + 9 * [True]
    made.loc[(made["ablated"] == KEYS) & (made["site"] == NEURONS), "test_accuracy"] = 0.2
    rows = modular_circuit._rows(pd.concat([blank, made]))
    assert [row.result.split(":")[0] for row in rows if row.passed is False] == [NEURONS]
    drawn = frequency_ablation(both).to_dict()
    assert len(next(iter(drawn["datasets"].values()))) > 0
