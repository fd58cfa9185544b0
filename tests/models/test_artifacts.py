"""An artifact appears whole or not at all, and its id says what it was made from."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import save_file

from models.artifacts import ArtifactError, Manifest, publishing, repair, tensor_checksums, write_json


def make(path, value=1.0, **kwargs):
    with publishing(path, "thing", **kwargs) as draft:
        save_file({"x": torch.full((3,), value)}, draft.path / "x.safetensors")
    return Manifest.read(path)


def test_the_id_does_not_depend_on_when_or_where_it_was_made(tmp_path):
    first = make(tmp_path / "a", config={"k": 1, "j": 2}, seed=0)
    again = make(tmp_path / "elsewhere" / "b", config={"j": 2, "k": 1}, seed=0)
    assert first.made != {}
    assert first.id == again.id


@pytest.mark.parametrize("change", [{"value": 2.0}, {"config": {"k": 2}}, {"seed": 1}, {"inputs": {"model": "m"}}])
def test_the_id_depends_on_content_config_seed_and_inputs(tmp_path, change):
    base = {"config": {"k": 1}, "seed": 0, "inputs": {"model": "l"}}
    assert make(tmp_path / "a", **base).id != make(tmp_path / "b", **(base | change)).id


def test_a_failed_job_leaves_what_was_there(tmp_path):
    before = make(tmp_path / "run" / "a")

    def fail():
        with publishing(tmp_path / "run" / "a", "thing", config={"new": True}) as draft:
            (draft.path / "half").write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert Manifest.read(tmp_path / "run" / "a").id == before.id
    assert not (tmp_path / "run" / "a" / "half").exists()


def test_a_killed_draft_is_resumed_by_the_same_job_and_dropped_by_another(tmp_path):
    (tmp_path / ".work").mkdir()

    def start(config):
        with publishing(tmp_path / "a", "thing", config=config) as draft:
            found = sorted(p.name for p in draft.path.iterdir() if p.name != "intent.json")
            (draft.path / "half").write_text("half")
            raise InterruptedError(str((draft.resumed, found)))

    for config, expected in [({"k": 1}, (False, [])), ({"k": 1}, (True, ["half"])), ({"k": 2}, (False, []))]:
        with pytest.raises(InterruptedError) as caught:
            start(config)
        assert str(caught.value) == str(expected)


def test_a_file_that_a_kill_left_half_written_is_not_published(tmp_path):
    def killed():
        with publishing(tmp_path / "a", "thing") as draft:
            (draft.path / "manifest.json.part").write_text("{")
            (draft.path / ".tmpW01iev").touch()  # as safetensors names what it is writing
            raise InterruptedError

    with pytest.raises(InterruptedError):
        killed()
    with publishing(tmp_path / "a", "thing") as draft:
        (draft.path / "whole").write_text("whole")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["manifest.json", "whole"]
    assert list(Manifest.read(tmp_path / "a").checksums) == ["whole"]


def test_a_kill_between_the_two_renames_is_repaired(tmp_path):
    work = tmp_path / ".work"
    work.mkdir()
    before = make(tmp_path / "deep" / "a")
    (tmp_path / "deep" / "a").rename(work / "replaced--deep%2Fa")
    repair(work)
    assert Manifest.read(tmp_path / "deep" / "a").id == before.id
    assert not list(work.glob("replaced--*"))


def test_a_replacement_takes_the_old_one_away(tmp_path):
    make(tmp_path / "a", value=1.0)
    new = make(tmp_path / "a", value=2.0)
    assert Manifest.read(tmp_path / "a").id == new.id
    assert not list((tmp_path / ".work").glob("replaced--*"))


def test_a_second_writer_is_told_who_holds_the_artifact(tmp_path):
    code = f"""
        from models.artifacts import publishing
        with publishing({str(tmp_path / "a")!r}, "thing"):
            print("holding", flush=True)
            input()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(ArtifactError, match=f"being written by process {holder.pid}"):
            make(tmp_path / "a")
    finally:
        holder.kill()
        holder.wait()
    make(tmp_path / "a")  # a dead holder holds nothing


def test_checksums_name_the_tensor_that_changed(tmp_path):
    save_file({"x": torch.zeros(4), "y": torch.ones(4)}, tmp_path / "before.safetensors")
    save_file({"x": torch.zeros(4), "y": torch.full((4,), 2.0)}, tmp_path / "after.safetensors")
    before, after = (tensor_checksums(tmp_path / f"{name}.safetensors") for name in ("before", "after"))
    assert before["x"] == after["x"]
    assert before["y"] != after["y"]


def test_a_shape_is_part_of_a_checksum(tmp_path):
    save_file({"x": torch.zeros(4)}, tmp_path / "row.safetensors")
    save_file({"x": torch.zeros(2, 2)}, tmp_path / "square.safetensors")
    assert tensor_checksums(tmp_path / "row.safetensors") != tensor_checksums(tmp_path / "square.safetensors")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not an artifact"),
        ("{", "it is not JSON"),
        ("[]", "not a manifest"),
        (json.dumps({"kind": "thing", "version": 99, "inputs": {}, "config": {}}), "update the workbench"),
    ],
)
def test_a_foreign_or_damaged_manifest_is_refused_in_one_sentence(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ArtifactError, match=sentence) as caught:
        Manifest.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_json_is_written_whole(tmp_path):
    write_json(tmp_path / "a.json", {"é": 1})
    assert json.loads((tmp_path / "a.json").read_text("utf8")) == {"é": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
