"""`workbench export`: what it hands on to the process that writes the site, and what it refuses itself."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cli import export
from workbench.cli.main import main


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(["--run", "demo", "--static", "site", *words])


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--features", "3", "0", "--views", "features", "runs", "--replace"],
        ["--top", "7", "--index", "small", "--json"],
        ["--list", "for the talk"],
    ],
)
def test_the_process_is_asked_for_what_was_asked_for(words: list[str]):
    command = export.command(asked(*words))
    assert command[:4] == [sys.executable, "-P", "-m", "apps.export"]
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    assert parser.parse_args(command[4:]) == asked(*words)


def test_features_are_chosen_in_one_way_only(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        asked("--top", "3", "--features", "1")
    assert "not allowed with" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", "--run", str(tmp_path / "none"), "--static", str(tmp_path / "site")]) == 2
    assert "there is no run at" in capsys.readouterr().err


def test_what_the_process_refuses_the_verb_refuses(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "workbench.cli.main", "export"]
    found = subprocess.run(
        [*command, "--run", str(tmp_path / "empty"), "--static", str(tmp_path / "site")], capture_output=True, text=True
    )
    assert found.returncode == 2
    assert found.stderr.startswith("workbench export: ")
    assert "is not a run of this workbench" in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "site").exists()


def test_the_options_need_neither_torch_nor_a_screen():
    code = "import sys, workbench.cli.export; print({'torch', 'streamlit', 'altair', 'jinja2'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
