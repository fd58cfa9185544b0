"""`kill -9` at random moments: what is visible is whole, and the job, begun again, ends in the same bits.

Fifty kills here (`--kills`); `make torture` does five hundred.
"""

import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from multiprocessing import forkserver

import pytest
from reliability import jobs

from models.artifacts import Manifest
from models.integrity import verify_artifact
from workbench.runs import Run

# What each job stands on.
NEEDS = {
    "train_subject": [],
    "record": [],
    "dictionary": ["record"],
    "index": ["record", "dictionary"],
    "publish": [],
}


@pytest.fixture(scope="module")
def processes():
    """Processes that have imported everything before they are asked for, so that a job is all that they do."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reliability.jobs"])
    # The server finds what it shall import by the environment alone.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


def begun(processes, job, folder):
    process = processes.Process(target=jobs.run_job, args=(job, folder))
    process.start()
    return process


def done(processes, job, folder):
    process = begun(processes, job, folder)
    process.join()
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def uninterrupted(processes, tmp_path_factory):
    """For each job, the folder it left when nobody disturbed it, and the seconds it took."""
    folder, seconds = tmp_path_factory.mktemp("whole") / "run", {}
    Run.create(folder)
    done(processes, "publish", folder.parent / "first")  # waits until the server has imported everything
    for job in NEEDS:
        begin = time.perf_counter()
        done(processes, job, folder)
        seconds[job] = time.perf_counter() - begin
    return folder, seconds


PLACES = {
    "train_subject": "model",
    "record": "activations/a",
    "dictionary": "saes/s",
    "index": "features/f",
    "publish": "analyses/versions",
}


@pytest.mark.parametrize("job", NEEDS)
def test_what_is_visible_is_whole_and_the_job_ends_in_the_same_bits(job, processes, uninterrupted, tmp_path, request):
    whole, seconds = uninterrupted
    place = PLACES[job]
    expected = Manifest.read(whole / place).id
    n_kills = request.config.getoption("--kills") // len(NEEDS)
    rng = random.Random(f"{job} {n_kills}")
    kills = rounds = 0
    while kills < n_kills:
        rounds += 1
        run = Run.create(tmp_path / str(rounds))
        for needed in NEEDS[job]:
            shutil.copytree(whole / PLACES[needed], run.path / PLACES[needed])
        finished = False
        while not finished:
            process = begun(processes, job, run.path)
            process.join(rng.uniform(0, 1.1 * seconds[job]) if kills < n_kills else None)
            if finished := not process.is_alive():
                assert process.exitcode == 0
            else:
                process.kill()
                process.join()
                kills += 1
            run = Run.open(run.path)
            assert not run.damaged()
            if (run.path / place).exists():
                assert verify_artifact(run.path / place) == []
        assert Manifest.read(run.path / place).id == expected
        assert run.unfinished() == []


def test_an_artifact_that_is_replaced_is_there_at_every_moment(processes, uninterrupted, tmp_path):
    run = Run.create(tmp_path / "run")
    done(processes, "publish", run.path)
    place = run.path / PLACES["publish"]
    rng = random.Random(0)
    for _ in range(10):
        process = begun(processes, "publish", run.path)
        process.join(rng.uniform(0, uninterrupted[1]["publish"]))
        process.kill()
        process.join()
        Run.open(run.path)
        first, second = (json.loads((place / name).read_text()) for name in ("first.json", "second.json"))
        assert first == second == Manifest.read(place).config["version"]
