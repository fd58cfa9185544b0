"""`python -m apps`: what is wrong with the arguments is one sentence and exit code 2, before anything is started."""

import socket
from pathlib import Path

import pytest

from apps.__main__ import FIRST_PORT, _port, _where, main


def test_a_missing_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "there is no run at" in said


def test_a_taken_port_is_refused_if_asked_for(runs_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--run", str(runs_root / "tiny"), "--port", str(port)]) == 2
    assert capsys.readouterr().err == f"workbench explore: port {port} is taken: choose a free one with --port.\n"


def test_a_number_that_is_no_port(runs_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run", str(runs_root), "--port", "70000"]) == 2
    assert "70000 is not a port" in capsys.readouterr().err


def test_a_taken_port_is_passed_over_if_none_was_asked_for() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first = _port(None)
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert first >= FIRST_PORT
        assert _port(None) > first


def test_a_run_is_shown_among_its_siblings_and_a_folder_of_runs_as_it_is(runs_root: Path) -> None:
    assert _where(runs_root / "tiny") == (runs_root, "tiny")
    assert _where(runs_root) == (runs_root, "")
