"""What the world does to a job: a full disk, a folder that cannot be written, somebody else at the same work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reliability.jobs import HOOKS, data, record, subject

from models.artifacts import ArtifactError
from workbench.activations import ActivationStore, harvest, shard_files


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, of 600 kB; where a process may not mount one, the test is left out."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs the rights of root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def test_a_full_disk_stops_a_recording_and_with_more_room_it_goes_on(disk, tmp_path, monkeypatch):
    expected = record(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="No space left on device"):  # the library that writes has an error of its own
        record(disk)
    assert not (disk / "activations" / "a").exists()
    whole = len(list((disk / "activations" / ".work").glob("*/*.whole.json")))
    assert whole > 3
    remount(disk, "size=20m")
    written = []
    write = shard_files.write_shard
    monkeypatch.setattr(shard_files, "write_shard", lambda *shard: written.append(shard) or write(*shard))
    store = ActivationStore.open(record(disk))
    assert len(written) == store.n_shards - whole
    assert store.id == ActivationStore.open(expected).id
    assert store.verify() == []


def test_a_folder_that_cannot_be_written_is_said_before_any_work(disk, monkeypatch):
    remount(disk, "ro")
    monkeypatch.setattr("workbench.activations.recorder.Recorder.record", lambda *_: pytest.fail("work began"))
    with pytest.raises(OSError, match="Read-only file system"):
        record(disk)


def test_a_second_recording_is_told_who_makes_the_first_and_takes_over_when_it_has_died(tmp_path):
    slow = (
        "import time; from pathlib import Path; from reliability import jobs; "
        "from workbench.activations import shard_files; write = shard_files.write_shard; "
        "shard_files.write_shard = lambda *shard: (write(*shard), time.sleep(0.2)); "
        f"jobs.record(Path({str(tmp_path)!r}))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])
    first = subprocess.Popen([sys.executable, "-c", slow], env=os.environ | {"PYTHONPATH": path})
    marks = tmp_path / "activations" / ".work"
    give_up = time.monotonic() + 60
    while not list(marks.glob("*/*.whole.json")):
        assert first.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.05)
    with pytest.raises(ArtifactError, match=f"activations/a is being written by process {first.pid}: wait for it"):
        record(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait()
    expected = harvest(subject(), data(), HOOKS, tmp_path / "b", batch_size=4, shard_rows=80)
    assert ActivationStore.open(record(tmp_path)).id == expected.id
