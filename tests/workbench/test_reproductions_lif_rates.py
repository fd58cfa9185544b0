"""Spikes counted at known rates."""

import pandas as pd
import pytest
import torch

from models.spiking import LIF, LIFRate
from workbench.reproductions import lif_rates as result


def test_rate_cells_count_their_rate_and_a_silent_start_is_left_out():
    current = torch.tensor([0.5, 2.0, 10.0], dtype=torch.float64)
    counted = result.counted_rates(LIFRate(), current, torch.zeros(3).double(), 0.05)
    assert counted.tolist() == pytest.approx([0, 63.040002, 243.474262], abs=1e-5)
    late = result.counted_rates(LIF(), current, torch.zeros(3).double(), 1.0, settled=0.5)
    assert late.tolist() == pytest.approx([0, 63, 243.5], abs=1)


def test_every_published_value_is_met():
    assert [row.passed for row in result.closed_form_rows()] == [True, True]


@pytest.mark.parametrize(("counted", "passed"), [(104.0, True), (103.5, True), (95.0, False)])
def test_one_cell_that_strays_is_seen(counted, passed):
    found = pd.DataFrame({"seed": [0, 0, 1], "rate": [101.0, 50, 0], "of_another": [50.0, 101, 80]})
    found["counted"] = [counted, 50.0, 0.0]
    first, second = result.spike_rows(found)
    assert first.passed is passed
    assert "another cell's rate 0.000 (0.000 to 0.000)" in first.ours
    assert second.passed is None


def test_the_axon_is_silent_or_fires_and_the_lowest_rate_is_no_small_one(monkeypatch):
    monkeypatch.setattr(result, "CURRENTS", (1.0, 20.0))
    monkeypatch.setattr(result, "SETTLED", 0.0)
    axon = result.firing_curve(0.03)
    assert axon["rate"].tolist() == [0, pytest.approx(3 / 0.03)]
    assert result.axon_row(axon).ours == "none to 1; 100 at 20"
