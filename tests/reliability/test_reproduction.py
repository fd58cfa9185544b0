"""A reproduction that is killed takes the trainings that it began with it."""

import dataclasses
import subprocess
import sys
import time

from models import recipes
from workbench.reproductions import Bench
from workbench.runs import Run


def test_a_killed_reproduction_leaves_nobody_at_work(tmp_path):
    """What it had begun can be taken up again: no training of it goes on and holds the lock."""
    code = f"""
import dataclasses
from models import recipes
from workbench.reproductions import Bench
from workbench.runs import Run
recipe = dataclasses.replace(recipes.get("flip-flop-rnn").with_changes(n_steps=100_000), n_train=8, n_test=8)
Bench(Run.create({str(tmp_path)!r}).path, False, print).subjects({{"a": recipe, "b": recipe.with_changes(seed=1)}})
"""
    begun = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "a/.work/model/metrics.jsonl"
    _wait_until(lambda: log.exists() and log.read_text().count("\n") > 2)
    begun.kill()
    begun.wait()
    time.sleep(4)
    at_rest = log.read_bytes()
    time.sleep(1)
    assert log.read_bytes() == at_rest
    small = dataclasses.replace(recipes.get("flip-flop-rnn").with_changes(n_steps=2), n_train=8, n_test=8)
    bench = Bench(Run.create(tmp_path).path, full=False, tell=lambda text: None)
    assert bench.subjects({"a": small})["a"].find("model")


def _wait_until(so, seconds=60):
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end
        time.sleep(0.1)
