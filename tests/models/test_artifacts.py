"""An artifact appears whole or not at all, and its id says what it was made from."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import artifacts
from models.artifacts import ArtifactError, Manifest, publishing, repair, tensor_checksums, write_json
from models.drafts import drafts
from models.tensor_files import save_tensors


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


def test_scratch_goes_when_the_artifact_is_whole_and_not_before(tmp_path, monkeypatch):
    def make():
        with publishing(tmp_path / "a", "thing") as draft:
            draft.scratch = {"mark", "parts"}
            (draft.path / "parts" / "0" / ".work").mkdir(parents=True, exist_ok=True)
            for name in ("mark", "parts/0/found", "whole"):
                (draft.path / name).write_text(name)

    def killed(draft):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(artifacts, "_checksums", killed)
        with pytest.raises(KeyboardInterrupt):
            make()
    assert (tmp_path / ".work" / "a" / "mark").exists()
    assert (tmp_path / ".work" / "a" / "parts" / "0" / "found").exists()
    make()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["manifest.json", "whole"]
    assert list(Manifest.read(tmp_path / "a").checksums) == ["whole"]


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


def of_a_person(path):
    path.mkdir()
    (path / "my.txt").write_text("notes")


def of_another_kind(path):
    with publishing(path, "else"):
        pass


def with_manifest(text):
    def put(path):
        path.mkdir()
        (path / "manifest.json").write_text(text)

    return put


OCCUPIED = {
    "a folder of somebody's": (of_a_person, "holds other things and is no artifact"),
    "a file": (lambda path: path.write_text("notes"), "is a file or a link, and no artifact"),
    "a link": (lambda path: path.symlink_to("nowhere"), "is a file or a link, and no artifact"),
    "another kind": (of_another_kind, "holds else, not thing"),
    "a damaged manifest": (with_manifest("{"), "is damaged: it is not JSON; it is not replaced"),
    "a foreign manifest": (with_manifest('{"name": "app"}'), "is not a manifest of this workbench; it is not replaced"),
    "a later format": (
        with_manifest(json.dumps({"kind": "thing", "version": 2, "inputs": {}, "config": {}})),
        "update the workbench; it is not replaced",
    ),
}


def contents(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*") if ".work" not in p.parts}


@pytest.mark.parametrize("case", OCCUPIED)
def test_what_cannot_be_made_again_is_not_replaced(tmp_path, case):
    occupy, sentence = OCCUPIED[case]
    occupy(tmp_path / "a")
    before = contents(tmp_path)
    with pytest.raises(ArtifactError, match=f"{sentence}.*move it away, or choose another place") as caught:
        make(tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_what_somebody_puts_there_meanwhile_is_not_replaced_and_the_work_is_not_lost(tmp_path):
    def disturbed():
        with publishing(tmp_path / "a", "thing") as draft:
            (draft.path / "whole").write_text("whole")
            of_a_person(tmp_path / "a")

    with pytest.raises(ArtifactError, match="holds other things"):
        disturbed()
    assert (tmp_path / "a" / "my.txt").read_text() == "notes"
    (tmp_path / "a").rename(tmp_path / "b")
    with publishing(tmp_path / "a", "thing") as draft:
        assert (draft.path / "whole").exists()
    assert list(Manifest.read(tmp_path / "a").checksums) == ["whole"]


def test_an_empty_folder_may_become_an_artifact(tmp_path):
    (tmp_path / "a").mkdir()
    assert make(tmp_path / "a").kind == "thing"


def test_nothing_is_made_inside_an_artifact(tmp_path):
    make(tmp_path / "a")
    with pytest.raises(ArtifactError, match="lies inside the thing at .*/a: choose a place outside"):
        make(tmp_path / "a" / "deep" / "b")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["manifest.json", "x.safetensors"]


def test_a_draft_says_whether_its_job_was_killed_or_failed_or_is_at_work(tmp_path):
    def stopped(error):
        with publishing(tmp_path / "run" / "a", "thing"):
            (found,) = drafts(tmp_path / "run" / ".work")
            assert (found.home, found.maker) == (tmp_path / "run" / "a", f"process {os.getpid()}")
            raise error

    for error, failure in ((KeyboardInterrupt(), None), (FloatingPointError("NaN in c\nat 3"), "NaN in c")):
        with pytest.raises(type(error)):
            stopped(error)
        (found,) = drafts(tmp_path / "run" / ".work")
        assert (found.maker, found.failure) == (None, failure)
    make(tmp_path / "run" / "a")
    assert drafts(tmp_path / "run" / ".work") == []
    assert "failed.json" not in Manifest.read(tmp_path / "run" / "a").checksums


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_tensors_may_be_read_by_whom_the_umask_lets_read(tmp_path, umask):
    (tmp_path / "x.safetensors.part").touch(mode=0o600)  # as a kill leaves it
    before = os.umask(umask)
    try:
        save_tensors({"x": torch.ones(3, 2).T}, tmp_path / "x.safetensors", {"step": "1"})
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask
    assert torch.equal(load_file(tmp_path / "x.safetensors")["x"], torch.ones(2, 3))
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


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
        ('{"kind": "\\ud800", "version": 1, "inputs": {}, "config": {}}', "text that is no Unicode"),
        (json.dumps({"kind": "thing", "version": 99, "inputs": {}, "config": {}}), "update the workbench"),
        (json.dumps({"kind": "thing", "version": "one", "inputs": {}, "config": {}}), "not a manifest"),
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
