"""Under `torchrun` a recording has the bits that one process gives it, and a dictionary the same losses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reliability import jobs

from workbench.activations import ActivationStore
from workbench.sae import load_sae

ROOT = Path(__file__).resolve().parents[2]


def started(n: int, *words: object) -> subprocess.CompletedProcess:
    """A job in n processes of one thread each; without `torchrun` where n is 1."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)] if n > 1 else []
    command = [sys.executable, *several, "-m", *map(str, words)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)


def run(n: int, *words: object) -> None:
    done = started(n, *words)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(1, "reliability.jobs", "record", folder)
    return folder


def test_the_rows_are_those_of_one_process_bit_for_bit(tmp_path, alone):
    run(2, "reliability.jobs", "record", tmp_path)
    store, expected = (ActivationStore.open(folder / "activations" / "a") for folder in (tmp_path, alone))
    assert store.n_shards > 20
    assert store.id == expected.id  # which names a checksum for every tensor and row table
    assert store.verify() == []


def test_a_process_that_dies_ends_the_job_and_the_next_goes_on_with_other_processes(tmp_path, alone):
    died = started(2, "reliability.jobs", "record", tmp_path, "--die-after", 3)
    assert died.returncode != 0
    assert not (tmp_path / "activations" / "a").exists()
    whole = {mark: mark.stat().st_mtime_ns for mark in (tmp_path / "activations" / ".work").glob("*/*.whole.json")}
    assert len(whole) >= 3
    run(4, "reliability.jobs", "record", tmp_path, "--die-after", 10**6)
    store = ActivationStore.open(tmp_path / "activations" / "a")
    assert store.id == ActivationStore.open(alone / "activations" / "a").id
    for mark, written in whole.items():
        shard = store.path / mark.name.replace(".whole.json", ".safetensors")
        assert shard.stat().st_mtime_ns <= written  # not made again


def test_a_dictionary_learns_from_one_store_in_several_processes(tmp_path, alone):
    losses, trained = {}, {}
    for n in (1, 2):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "activations").symlink_to(alone / "activations")
        run(n, "reliability.jobs", "dictionary", folder)
        log = [json.loads(line) for line in (folder / "saes" / "s" / "metrics.jsonl").read_text().splitlines()]
        losses[n] = [record["mse"] for record in log]
        trained[n] = load_sae(folder / "saes" / "s")
    assert losses[2] == pytest.approx(losses[1], rel=1e-3)
    assert losses[1][-1] < 0.5 * losses[1][0]
    x = ActivationStore.open(alone / "activations" / "a")[jobs.HOOKS[0]][:500]
    apart = (trained[1](x) - trained[2](x)).norm() / trained[1](x).norm()
    assert apart < 0.02
