"""What the demo's story claims, re-made from nothing: about six minutes on two cores."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from workbench.features import FeatureIndex
from workbench.runs import Run

pytestmark = pytest.mark.reproduce


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "demo"
    subprocess.run([sys.executable, "-m", "workbench", "demo", "--run", str(path), "--no-explore"], check=True)
    return Run.open(path)


@pytest.fixture(scope="module")
def index(run):
    return FeatureIndex.open(run.find("features").path)


@pytest.fixture(scope="module")
def dictionaries(run):
    return pd.read_json(run.find("sae").path / "metrics.json").set_index("dictionary")


def test_the_subject_beats_counting_pairs_by_a_nat(run):
    lines = [json.loads(line) for line in (run.path / "model/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["heldout_loss"] < lines[0]["bigram_loss"] - 0.5
    assert lines[-1]["heldout_loss"] < 3.7


def test_the_dictionary_beats_every_control(dictionaries):
    trained, controls = dictionaries.loc["trained"], dictionaries.drop("trained")
    for number in ("explained_variance", "loss_recovered_zero", "loss_recovered_mean"):
        assert (trained[number] > controls[number]).all(), number
    assert trained["l0"] == pytest.approx(12, abs=0.1)
    assert trained["dead_fraction"] <= 0.1


def test_ten_syntax_concepts_are_detected_better_by_a_feature_than_by_the_best_neuron(index):
    single = index.concepts[index.concepts["kind"] == "single"].sort_values("gain", ascending=False)
    print(single.head(40).to_string())
    sure = single[single["gain_low"] > 0]
    assert (sure["gain"] >= 0.1).sum() >= 10
    # and ten of them where knowing the token alone would not do
    assert (sure.loc[sure["token_f1"] < 0.8, "gain"] >= 0.1).sum() >= 10


def test_features_have_names_where_random_directions_have_none(index):
    named = index.naming.set_index(["dictionary", "kind"])["share"]
    print(index.naming.to_string())
    assert named["trained"].sum() > named["random"].sum()
