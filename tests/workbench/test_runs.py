"""A run knows what it holds, what that was made from, and what has gone stale."""

import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

from models.artifacts import ArtifactError, publishing
from workbench.runs import Run, list_runs


def make(run, kind, name, inputs=(), value=0.0):
    known = run.inputs(*(run.find(k) for k in inputs))
    with publishing(run.path_of(kind, name), kind, inputs=known) as draft:
        save_file({"x": torch.tensor([value])}, draft.path / "x.safetensors")
    return run.refresh()


@pytest.fixture
def run(tmp_path):
    run = Run.create(tmp_path / "runs" / "a")
    run = make(run, "dataset", "data")
    run = make(run, "model", "model", ["dataset"])
    run = make(run, "activations", "mlp", ["model"])
    return make(run, "sae", "topk", ["activations"])


def states(run):
    return {a.name: a.stale for a in run.refresh().artifacts()}


def test_artifacts_are_listed_upstream_first_and_none_is_stale(run):
    assert states(run) == {"data": False, "model": False, "mlp": False, "topk": False}


def test_staleness_travels_downstream(run):
    make(run, "model", "model", ["dataset"], value=1.0)
    assert states(run) == {"data": False, "model": False, "mlp": True, "topk": True}


def test_the_same_content_again_is_not_stale(run):
    make(run, "model", "model", ["dataset"], value=0.0)
    assert not any(states(run).values())


def test_what_lost_its_input_is_stale(run):
    shutil.rmtree(run.find("activations").path)
    assert states(run) == {"data": False, "model": False, "topk": True}


def test_inputs_may_be_another_runs(run, tmp_path):
    other = Run.create(tmp_path / "runs" / "b")
    inputs = {"../a/model": run.find("model").id}
    with publishing(other.path_of("activations", "mlp"), "activations", inputs=inputs):
        pass
    assert states(other) == {"mlp": False}
    make(run, "model", "model", ["dataset"], value=1.0)
    assert states(other) == {"mlp": True}


def test_what_is_not_there_is_said_with_what_is(run):
    with pytest.raises(ArtifactError, match="has no sae 'jumprelu': there are topk"):
        run.find("sae", "jumprelu")
    with pytest.raises(ArtifactError, match="has no features: `workbench index --run .*` makes one"):
        run.find("features")


def test_a_path_is_one_word_of_the_commands_that_sentences_name(run, tmp_path):
    moved = shutil.copytree(run.path, tmp_path / "a run")
    with pytest.raises(ArtifactError, match=re.escape(f"`workbench index --run '{moved}'` makes one")):
        Run.open(moved).find("features")
    with pytest.raises(ArtifactError, match=re.escape(f"`workbench train --run '{tmp_path}/no run'` makes one")):
        Run.open(tmp_path / "no run")


def test_what_an_artifact_was_made_from_is_found_by_its_kind(run):
    assert run.made_from(run.find("sae"), "activations").path == run.find("activations").path
    assert run.made_from(run.find("activations"), "model").id == run.find("model").id


def test_what_an_artifact_was_made_from_and_is_not_there_is_one_sentence(run, tmp_path):
    dictionary = run.find("sae")
    said = "the recording that topk was made from is not in this run.*`workbench harvest --run .*`workbench sae --run"
    replaced = make(run, "activations", "mlp", ["model"], value=1.0)
    with pytest.raises(ArtifactError, match=said):
        replaced.made_from(dictionary, "activations")
    shutil.rmtree(run.path / "activations")
    with pytest.raises(ArtifactError, match=said):
        run.refresh().made_from(dictionary, "activations")
    with publishing(run.path_of("analysis", "pushed"), "analysis", config={"verb": "steer"}):
        pass
    with pytest.raises(ArtifactError, match="the dictionary that pushed .*`workbench steer --run"):
        run.refresh().made_from(run.refresh().find("analysis"), "sae")


def test_runs_may_nest(run, tmp_path):
    for seed in (0, 1):
        Run.create(tmp_path / "runs" / "grokking" / f"seed-{seed}")
    assert [str(r.path.relative_to(tmp_path / "runs")) for r in list_runs(tmp_path / "runs")] == [
        "a",
        "grokking/seed-0",
        "grokking/seed-1",
    ]


def test_a_run_inside_a_run_is_listed_too(run):
    Run.create(run.path / "seed-1")
    assert [r.path for r in list_runs(run.path)] == [run.path, run.path / "seed-1"]


def test_a_foreign_work_folder_makes_no_run(tmp_path):
    (tmp_path / "x" / ".work").mkdir(parents=True)
    assert list_runs(tmp_path) == []


def test_what_is_stale_is_not_built_upon(run):
    make(run, "model", "model", ["dataset"], value=1.0)
    with pytest.raises(ArtifactError, match=r"activations/mlp is stale.*make it again first \(`workbench harvest`\)"):
        run.refresh().current("activations")


def test_a_damaged_artifact_does_not_hide_the_others(run):
    (run.find("sae").path / "manifest.json").write_text("{")
    again = run.refresh()
    assert [a.name for a in again.artifacts()] == ["data", "model", "mlp"]
    assert list(again.damaged()) == ["saes/topk"]
    assert "not JSON" in again.damaged()["saes/topk"]


def test_a_folder_that_lost_its_manifest_is_named_and_an_empty_one_is_not(run):
    (run.find("activations").path / "manifest.json").unlink()
    (run.path / "features" / "empty").mkdir(parents=True)
    assert list(run.refresh().damaged()) == ["activations/mlp"]


def test_a_folder_of_recordings_alone_is_a_run_if_they_are_ours(run, tmp_path):
    by_hand = tmp_path / "by_hand"
    shutil.copytree(run.find("activations").path, by_hand / "activations" / "mlp")
    assert [a.name for a in Run.open(by_hand).artifacts()] == ["mlp"]
    (tmp_path / "site" / "features" / "app").mkdir(parents=True)
    (tmp_path / "site" / "features" / "app" / "manifest.json").write_text('{"name": "app"}')
    with pytest.raises(ArtifactError, match="it has no data/, model/ or other artifact"):
        Run.open(tmp_path / "site")


def test_opening_a_run_leaves_a_writer_alone_between_its_two_renames(run):
    """The old artifact is already in .work and the new one not yet in place: a reader must not move it back."""
    path = run.find("sae").path
    with publishing(path, "sae"):
        old = run.path / ".work" / "replaced--saes%2Ftopk"
        path.rename(old)
        Run.open(run.path)
        assert old.exists()
        old.rename(path)


def test_an_interrupted_jobs_draft_is_named(run):
    def killed():
        with publishing(run.path_of("features", "topk"), "features"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert run.unfinished() == ["features/topk"]


@pytest.mark.parametrize("content", ["file", "foreign", "missing"])
def test_what_is_no_run_is_refused(tmp_path, content):
    path = tmp_path / "x"
    if content == "file":
        path.write_text("")
    elif content == "foreign":
        path.mkdir()
        (path / "notes.txt").write_text("")
    with pytest.raises(ArtifactError, match="there is no run at|is not a run"):
        Run.open(path)
    if content != "missing":
        with pytest.raises(ArtifactError, match="is a file|holds other things"):
            Run.create(path)
