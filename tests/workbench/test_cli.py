"""The verbs, as a person or a script types them."""

import json
import os
import random
import re
import shutil
import subprocess
import sys

import pytest
from typechecker import unchecked

from models.artifacts import Manifest, publishing
from workbench.cli import main as cli
from workbench.features import FeatureIndex
from workbench.runs import Run

VERBS = ["demo", "train", "harvest", "sae", "index", "explore", "reproduce", "ls"]


def type_in(*words, capsys):
    """What a person sees: exit code, standard output, standard error."""
    try:
        code = cli.main(list(words))
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A little corpus of somebody's own: twelve documents that a model can learn."""
    folder = tmp_path_factory.mktemp("texts")
    for i in range(24):
        rng = random.Random(i)
        lines = [f'She {rng.choice(VERBS)}: "the {rng.choice(VERBS)} {rng.random()}" (quietly).' for _ in range(80)]
        (folder / f"{i:02d}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    """A run made by the verbs alone."""
    path = tmp_path_factory.mktemp("runs") / "small"
    where = ["--run", str(path)]
    with unchecked():
        assert cli.main(["train", *where, "--corpus", str(text), "--steps", "4"]) == 0
        assert cli.main(["harvest", *where, "--tokens", "6000", "--name", "mlp"]) == 0
        assert cli.main(["sae", *where, "--width", "64", "--k", "4", "--tokens", "8192", "--name", "small"]) == 0
        assert cli.main(["index", *where]) == 0
    return path


def test_help_loads_nothing_heavy():
    statement = "from workbench.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    code = f"import sys\n{statement}\nprint(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformer_lens", "streamlit", "numpy", "pandas"} & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_takes_json(verb, capsys):
    code, out, _ = type_in(verb, "--help", capsys=capsys)
    assert code == 0
    assert "--json" in out


def test_the_verbs_in_order_make_a_whole_run(run, capsys):
    code, out, _ = type_in("ls", str(run), "--json", capsys=capsys)
    assert code == 0
    (found,) = json.loads(out)["runs"]
    assert [(a["kind"], a["state"]) for a in found["artifacts"]] == [
        (kind, "whole") for kind in ("dataset", "model", "activations", "sae", "features")
    ]
    assert found["unfinished"] == []


def test_verify_names_the_shard_and_the_hook_that_are_damaged(run, tmp_path, capsys):
    assert type_in("ls", str(run), "--verify", capsys=capsys)[0] == 0
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (shard,) = (copy / "activations").glob("*/shard-00000.safetensors")
    flipped(shard)
    code, out, err = type_in("ls", str(copy), "--verify", capsys=capsys)
    assert code == 2
    assert f"{shard.relative_to(copy)}, blocks.0.mlp.hook_post, is not what was published." in out
    assert "1 damaged" in err


def flipped(shard):
    raw = bytearray(shard.read_bytes())
    raw[-3] ^= 4
    shard.write_bytes(raw)


PLACES = {
    "the recording": "activations/mlp",
    "the folder of recordings": "activations",
    "its folder": "",
    "a folder of it": "..",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("marked", [True, False], ids=["a run", "written by hand"])
def test_verify_looks_into_whatever_folder_it_is_given(place, marked, run, tmp_path, capsys):
    copy = tmp_path / "runs" / "copy"
    shutil.copytree(run / "activations", copy / "activations")
    if marked:
        Run.create(copy)
    assert type_in("ls", str(copy / PLACES[place]), "--verify", capsys=capsys)[0] == 0
    flipped(copy / "activations/mlp/shard-00000.safetensors")
    code, out, err = type_in("ls", str(copy / PLACES[place]), "--verify", capsys=capsys)
    assert code == 2
    assert "shard-00000.safetensors, blocks.0.mlp.hook_post, is not what was published." in out
    assert "1 damaged: put the files named above back, or make what they belong to again (with --replace)" in err


def test_verify_finds_a_recording_that_stands_beside_runs(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "runs" / "copy")
    shutil.copytree(run / "activations" / "mlp", tmp_path / "runs" / "apart")
    flipped(tmp_path / "runs/apart/shard-00000.safetensors")
    code, out, _ = type_in("ls", str(tmp_path / "runs"), "--verify", "--json", capsys=capsys)
    assert code == 2
    found = json.loads(out)
    assert [len(part["altered"]) for part in (*found["runs"], *found["outside"])] == [0, 1]


@pytest.mark.parametrize(
    ("put", "sentence"),
    [
        (None, "holds neither a run nor an artifact: nothing was checked"),
        ("notes.txt", "holds neither a run nor an artifact: nothing was checked"),
        ("manifest.json", "is damaged: it is not JSON"),
    ],
)
def test_where_there_is_nothing_to_verify_that_is_said(put, sentence, tmp_path, capsys):
    if put:
        (tmp_path / put).write_text("{")
    code, out, err = type_in("ls", str(tmp_path), "--verify", capsys=capsys)
    assert (code, out) == (2, "")
    assert sentence in err


@pytest.mark.parametrize("place", ["activations/mlp", "model", "saes/small"])
def test_a_manifest_that_is_gone_is_missed(place, run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / place / "manifest.json").unlink()
    code, out, _ = type_in("ls", str(copy), "--verify", capsys=capsys)
    assert code == 2
    assert re.search(f"{place} is damaged: .*{place} is not an artifact: it has no manifest.json", out)


@pytest.mark.parametrize("put", ["my.txt", "manifest.json"])
@pytest.mark.parametrize("option", [[], ["--replace"]])
def test_a_folder_that_is_no_recording_is_not_recorded_over(put, option, run, capsys):
    notes = run / "activations" / "notes"
    write(notes / put, b"mine")
    try:
        code, _, err = type_in("harvest", "--run", str(run), "--name", "notes", *option, capsys=capsys)
        assert code == 2
        assert "it is not replaced: move it away, or choose another place" in err
        assert (notes / put).read_bytes() == b"mine"
    finally:
        shutil.rmtree(notes)


def test_a_recording_of_a_later_format_is_not_recorded_over(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    manifest = copy / "activations/mlp/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 2}))
    before = manifest.read_bytes()
    code, _, err = type_in("harvest", "--run", str(copy), "--name", "mlp", "--tokens", "6000", capsys=capsys)
    assert code == 2
    assert "update the workbench" in err
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("damage", ["gone", "cut", "rows gone", "rows cut"])
def test_a_recording_with_a_missing_or_cut_file_does_not_count_as_done(damage, run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    name = "rows-00000.parquet" if "rows" in damage else "shard-00000.safetensors"
    file = copy / "activations/mlp" / name
    if "cut" in damage:
        file.write_bytes(file.read_bytes()[:-10])
    else:
        file.unlink()
    words = ["harvest", "--run", str(copy), "--name", "mlp", "--tokens", "6000"]
    code, out, err = type_in(*words, capsys=capsys)
    assert (code, out) == (2, "")
    assert re.search(f"mlp is damaged: {name} is (missing|cut short); put it back, or add --replace", err)
    assert type_in(*words, "--replace", capsys=capsys)[0] == 0
    assert type_in("ls", str(copy / "activations"), "--verify", capsys=capsys)[0] == 0


def test_what_is_left_of_a_job_is_told_by_what_became_of_it(run, tmp_path, capsys):
    copy = Run.create(shutil.copytree(run, tmp_path / "copy"))

    def left(name, error):
        with publishing(copy.path_of("activations", name), "activations", config={"name": name}):
            out = type_in("ls", str(copy.path), capsys=capsys)[1]
            assert f"activations/{name} is being made by process {os.getpid()}." in out
            raise error

    for name, error in (("killed", KeyboardInterrupt()), ("nan", FloatingPointError("a is NaN.")), ("mlp", OSError())):
        with pytest.raises(type(error)):
            left(name, error)
    out = type_in("ls", str(copy.path), capsys=capsys)[1]
    assert "activations/killed is unfinished: the call that began it goes on with it" in out
    assert "activations/nan failed: a is NaN; the call that began it tries again" in out
    assert "a new activations/mlp failed: OSError" in out
    for path in re.findall(r"`rm -r (.*)` gives it up", out):
        shutil.rmtree(path)
    (found,) = json.loads(type_in("ls", str(copy.path), "--json", capsys=capsys)[1])["runs"]
    assert (found["unfinished"], found["being_made"]) == ([], [])


def test_a_run_is_listed_by_its_name(run, monkeypatch, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "memory").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    code, out, _ = type_in("ls", "memory", capsys=capsys)
    assert code == 0
    assert "activations  mlp" in out
    (tmp_path / "README.md").write_text("")
    for name, sentence in (("README.md", "README.md is a file: name a run"), ("nothing", "no folder runs/nothing")):
        code, _, err = type_in("ls", name, capsys=capsys)
        assert code == 2
        assert sentence in err


def test_a_colleague_may_read_whatever_a_run_holds(run):
    modes = {
        file.stat().st_mode & 0o777
        for place in ("data", "model", "activations", "features")
        for file in (run / place).rglob("*")
        if file.is_file()
    }
    assert modes == {(run / "data/docs.parquet").stat().st_mode & 0o777}


def test_a_dictionary_stands_beside_its_controls(run):
    rows = json.loads((run / "saes/small/metrics.json").read_text())
    assert [row["dictionary"] for row in rows] == ["trained", "PCA", "random", "neurons"]
    for row in rows:
        assert {"l0", "explained_variance", "dead_fraction", "loss_recovered_zero", "loss_recovered_mean"} <= set(row)


def test_what_is_whole_is_not_made_again(run, text, capsys):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("manifest.json")}
    where = ["--run", str(run)]
    type_in("train", *where, "--corpus", str(text), "--steps", "12", capsys=capsys)
    type_in("harvest", *where, "--tokens", "6000", "--name", "mlp", capsys=capsys)
    type_in("sae", *where, "--width", "64", "--k", "4", "--tokens", "16384", "--name", "small", capsys=capsys)
    type_in("index", *where, capsys=capsys)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("manifest.json")} == before


def test_other_settings_do_not_overwrite_what_is_there(run, text, capsys):
    before = (run / "model/manifest.json").read_bytes()
    code, _, err = type_in("train", "--run", str(run), "--corpus", str(text), "--steps", "13", capsys=capsys)
    assert code == 2
    assert "choose another --run, or add --replace" in err
    assert (run / "model/manifest.json").read_bytes() == before


BAD = {
    "unknown recipe": (["train", "--recipe", "gpt-5"], "no recipe is called 'gpt-5': there are python-transformer"),
    "a corpus for a task": (
        ["train", "--recipe", "flip-flop-gru", "--corpus", "a.txt"],
        "the recipe flip-flop-gru learns a task of its own: leave --corpus out",
    ),
    "missing corpus": (["train", "--corpus", "nowhere.txt"], "nowhere.txt"),
    "a seed below zero": (["train", "--recipe", "flip-flop-gru", "--seed", "-1"], "seed is -1: it must be at least 0"),
    "no steps": (["train", "--steps", "0"], "n_steps is 0"),
    "missing run": (["harvest"], "there is no run at"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, sentence = BAD[case]
    code, out, err = type_in(*words, "--run", "runs/new", capsys=capsys)
    assert code == 2
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1


BAD_ON_A_RUN = {
    "unknown hook": (["harvest", "--hooks", "blocks.0.mlp.hook_pots"], "did you mean blocks.0.mlp.hook_post"),
    "unknown dtype": (["harvest", "--dtype", "int4", "--name", "x"], "dtype is 'int4'"),
    "unknown dtype of what is there": (["harvest", "--dtype", "int4", "--name", "mlp"], "dtype is 'int4': it must be"),
    "positions of what is there": (
        ["harvest", "--positions", "first", "--name", "mlp"],
        "positions is 'first': it must",
    ),
    "no tokens of what is there": (["harvest", "--tokens", "0", "--name", "mlp"], "the number of tokens is 0"),
    "a seed below zero": (["harvest", "--seed", "-1", "--name", "x"], "seed is -1: it must be at least 0"),
    "no such device": (["harvest", "--device", "tpu", "--name", "x"], "there is no device 'tpu'"),
    "a seed of examples below zero": (["index", "--seed", "-1"], "seed is -1: it must be at least 0"),
    "unknown recording": (["sae", "--activations", "nothing"], "no activations 'nothing': there are mlp"),
    "hook not recorded": (["sae", "--hook", "blocks.1.mlp.hook_post"], "no recording of 'blocks.1.mlp.hook_post'"),
    "k beyond the width": (["sae", "--width", "8", "--k", "9", "--name", "x"], "9"),
    "a recording that is too short": (["sae", "--name", "x", "--tokens", "0"], "n_tokens"),
    "unknown architecture": (["sae", "--architecture", "magic", "--name", "x"], "topk"),
    "unknown dictionary": (["index", "--sae", "nothing"], "no sae 'nothing': there are small"),
    "name with a slash": (["harvest", "--name", "../x"], "cannot be the name of an artifact"),
}


@pytest.mark.parametrize("case", BAD_ON_A_RUN)
def test_bad_input_on_a_run_loses_nothing(case, run, capsys):
    before = sorted(p for p in run.rglob("*") if ".work" not in p.parts)
    words, sentence = BAD_ON_A_RUN[case]
    code, _, err = type_in(*words, "--run", str(run), capsys=capsys)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert sorted(p for p in run.rglob("*") if ".work" not in p.parts) == before


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


BAD_CORPORA = {
    "empty": (b"", "empty"),
    "binary": (b"\x00\x01\x02" * 1000, "binary|text"),
    "one long line": (b"a b " * 75_000, "one endless line"),
    "too little": (b"three short words\n", "too few|too little|sequences"),
}


@pytest.mark.parametrize("case", BAD_CORPORA)
def test_an_unfit_corpus_is_refused_before_any_work(case, tmp_path, monkeypatch, capsys):
    content, sentence = BAD_CORPORA[case]
    monkeypatch.setattr("models.training.train", lambda *args, **kwargs: pytest.fail("training began"))
    corpus = write(tmp_path / "corpus.txt", content)
    code, _, err = type_in("train", "--run", str(tmp_path / "run"), "--corpus", corpus, capsys=capsys)
    assert code == 2
    assert re.search(sentence, err)
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", ["harvest", "sae", "index"])
def test_a_foreign_or_missing_run_is_refused_by_every_verb(verb, tmp_path, capsys):
    write(tmp_path / "foreign" / "photo.jpg", b"x")
    for name, sentence in [("foreign", "is not a run of this workbench"), ("missing", "there is no run at")]:
        code, _, err = type_in(verb, "--run", str(tmp_path / name), capsys=capsys)
        assert code == 2
        assert sentence in err


@pytest.mark.parametrize("name", ["model/weights.safetensors", "data/tokens.safetensors", "data/labels.parquet"])
def test_a_damaged_file_is_named(name, run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    damaged = copy / name
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    code, _, err = type_in("harvest", "--run", str(copy), "--name", "again", "--tokens", "500", capsys=capsys)
    assert code == 2
    assert str(copy / name.split("/")[0]) in err


def test_stale_inputs_are_refused(run, tmp_path, text, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    where = ["--run", str(copy)]
    assert cli.main(["train", *where, "--corpus", str(text), "--steps", "3", "--replace"]) == 0
    for verb in ("sae", "index"):
        code, _, err = type_in(verb, *where, capsys=capsys)
        assert code == 2
        assert "is stale" in err


def test_a_reader_that_has_seen_enough_is_no_error(run):
    command = f"{sys.executable} -m workbench ls {run} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert "Broken pipe" not in done.stderr


def test_a_foreign_folder_is_not_taken_for_a_run(tmp_path, capsys):
    (tmp_path / "photo.jpg").write_text("x")
    code, _, err = type_in("train", "--run", str(tmp_path), capsys=capsys)
    assert code == 2
    assert "holds other things and is not a run" in err
    assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_librarys_error_keeps_its_trace(monkeypatch):
    from workbench.cli import ls

    def bug(args):
        json.loads("{")

    monkeypatch.setattr(ls, "run", bug)
    with pytest.raises(json.JSONDecodeError):
        cli.main(["ls"])


@pytest.mark.usefixtures("as_in_a_script")
def test_a_task_is_trained_recorded_and_indexed_by_the_same_verbs(tmp_path, capsys):
    where = ["--run", str(tmp_path / "memory")]
    code, out, _ = type_in("train", *where, "--recipe", "flip-flop-gru", "--steps", "3", "--json", capsys=capsys)
    assert code == 0
    made = json.loads(out)
    assert 0 <= made["heldout_accuracy"] <= 1
    assert cli.main(["harvest", *where, "--hooks", "blocks.0.rnn.hook_h", "--tokens", "8000"]) == 0
    assert cli.main(["sae", *where, "--width", "32", "--k", "3", "--tokens", "8192"]) == 0
    assert cli.main(["index", *where]) == 0
    manifest = Manifest.read(tmp_path / "memory/model")
    assert manifest.config["task"]["name"] == "flip_flop"
    before = (tmp_path / "memory/model/manifest.json").stat().st_mtime_ns
    assert cli.main(["train", *where, "--recipe", "flip-flop-gru", "--steps", "3"]) == 0
    assert (tmp_path / "memory/model/manifest.json").stat().st_mtime_ns == before
    code, _, err = type_in("train", *where, "--recipe", "flip-flop-gru", "--seed", "1", capsys=capsys)
    assert code == 2
    assert "choose another --run" in err


def test_recipes_are_listed_with_what_they_reach(capsys):
    code, out, _ = type_in("train", "--list", capsys=capsys)
    assert code == 0
    assert "python-transformer" in out
    assert re.search(r"flip-flop-gru .* 0\.990", out)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [([], "name a result: there are grokking"), (["alchemy"], "no reproduction is called 'alchemy'")],
)
def test_a_reproduction_is_asked_for_by_name(words, sentence, tmp_path, capsys):
    code, out, err = type_in("reproduce", *words, "--root", str(tmp_path / "r"), capsys=capsys)
    assert code == 2
    assert sentence in err
    assert out == ""
    assert not (tmp_path / "r").exists()


@pytest.mark.usefixtures("as_in_a_script")
@pytest.mark.parametrize("recipe", ["modular-addition-mlp", "copy-bahdanau", "reverse-transformer", "superposition"])
def test_every_kind_of_subject_goes_all_the_way_by_the_same_verbs(recipe, tmp_path, capsys):
    run = str(tmp_path / "run")
    verbs = [
        ("train", "--recipe", recipe, "--steps", "2"),
        ("harvest", "--tokens", "3000"),
        ("sae", "--tokens", "3000"),
        ("index",),
    ]
    for verb, *options in verbs:
        code, _, err = type_in(verb, "--run", run, *options, capsys=capsys)
        assert code == 0, err
    (features,) = (tmp_path / "run" / "features").iterdir()
    assert FeatureIndex.open(features).table.shape[0] > 0


def test_a_dictionary_of_another_recording_is_not_replaced_unasked(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    type_in("harvest", "--run", str(copy), "--tokens", "500", "--name", "few", capsys=capsys)
    (dictionary,) = (copy / "saes").iterdir()
    words = ["--run", str(copy), "--name", dictionary.name, "--activations"]
    code, _, err = type_in("sae", *words, "few", "--width", "64", "--k", "4", capsys=capsys)
    assert code == 2
    assert "was made from activations/mlp, not activations/few" in err


def test_more_active_latents_than_a_control_has_are_refused_before_training(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("workbench.sae.train_saes", lambda *args, **kwargs: pytest.fail("training began"))
    code, _, err = type_in("sae", "--run", str(run), "--width", "4096", "--k", "1100", "--name", "x", capsys=capsys)
    assert code == 2
    assert "so k can be at most that" in err
