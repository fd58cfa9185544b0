"""Each architecture trains on its tasks to the accuracy that its recipe states, from one command."""

import json
import subprocess
import sys
import time

import pytest

from models.recipes import RECIPES

pytestmark = pytest.mark.reproduce


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.accuracy is not None])
def test_one_command_trains_to_the_stated_accuracy(name, tmp_path):
    command = [sys.executable, "-m", "workbench", "train", "--recipe", name, "--run", str(tmp_path / "run"), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(f"{name}: {result['heldout_accuracy']:.4f} held out after {result['step']} steps, {seconds:.0f} s")
    assert result["step"] == RECIPES[name].training.n_steps
    assert result["heldout_accuracy"] >= RECIPES[name].accuracy
