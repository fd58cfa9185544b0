"""A sweep in several processes ends like one in one; a sweep that is killed goes on from its checkpoints."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recorded_runs import make_run

from models.artifacts import Manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("recorded") / "run", seed=0)


def copy_of(recorded: Path, folder: Path) -> Path:
    return Path(shutil.copytree(recorded, folder / recorded.name))


# The verb, with a checkpoint as often as it can.
OFTEN = """
import sys
from workbench.cli import dictionaries
from workbench.cli.main import main

wanted = dictionaries.wanted

def often(reading, *, training, **options):
    return wanted(reading, training=training | {"checkpoint_every_s": 0.05}, **options)

dictionaries.wanted = often
sys.exit(main(sys.argv[1:]))
"""
ALONE, TOGETHER = ["-c", OFTEN], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]


def started(run: Path, n_tokens: int, how: list[str]) -> subprocess.Popen:
    """`workbench sae --sweep` in processes of one thread each."""
    words = [
        "sae",
        "--sweep",
        "--architecture",
        "topk",
        "--k",
        "2",
        "4",
        "--width",
        "32",
        "--batch-size",
        "100",
        "--json",
    ]
    command = [sys.executable, *how, *(["workbench"] if how is TOGETHER else []), *words]
    command += ["--run", str(run), "--tokens", str(n_tokens)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(job: subprocess.Popen) -> dict:
    out, err = job.communicate(timeout=240)
    assert job.returncode == 0, err
    return json.loads(out)


def test_several_processes_end_in_the_same_numbers(recorded, tmp_path):
    jobs = [started(copy_of(recorded, tmp_path / str(n)), 12_000, how) for n, how in enumerate((ALONE, TOGETHER))]
    found = [ended(job) for job in jobs]
    rows = [[d["metrics"] for d in result["dictionaries"]] for result in found]
    for alone, together in zip(*rows, strict=True):
        for one, other in zip(alone, together, strict=True):
            assert one["dictionary"] == other["dictionary"]
            for name in ("l0", "explained_variance", "loss_recovered_zero"):
                assert other[name] == pytest.approx(one[name], abs=0.02)


def test_a_killed_sweep_ends_in_the_same_bits(recorded, tmp_path):
    whole, killed = (copy_of(recorded, tmp_path / name) for name in ("whole", "killed"))
    job = started(killed, 40_000, ALONE)
    checkpoint = killed / ".work/saes%2Fblocks.0.mlp.post-topk-32-k4/checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert checkpoint.exists()
    assert not (killed / "saes").exists()
    for going_on in [started(run, 40_000, ALONE) for run in (whole, killed)]:
        ended(going_on)
    made = sorted(path.name for path in (whole / "saes").iterdir())
    assert len(made) == 2
    for name in made:
        assert Manifest.read(killed / "saes" / name).id == Manifest.read(whole / "saes" / name).id
