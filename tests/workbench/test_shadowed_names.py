"""A foreign `models` beside a user's script is named in one sentence, and `-P` is the way out."""

import subprocess
import sys

import pytest


@pytest.fixture(params=["models.py", "models/__init__.py", "probes.py"])
def foreign(tmp_path, request):
    path = tmp_path / request.param
    path.parent.mkdir(exist_ok=True)
    path.write_text("answer = 42\n")
    (tmp_path / "script.py").write_text("import workbench\nprint('imported')\n")
    return path


def run(folder, *flags):
    return subprocess.run([sys.executable, *flags, "script.py"], cwd=folder, capture_output=True, text=True)


def test_a_shadow_is_refused_by_name(foreign, tmp_path):
    done = run(tmp_path)
    assert done.returncode == 1
    sentence = done.stderr.strip().splitlines()[-1]
    assert sentence.startswith("ImportError: workbench needs its own package")
    assert str(foreign) in sentence
    assert "python -P" in sentence.lower() or "-P" in sentence


@pytest.mark.usefixtures("foreign")
def test_the_way_out_works(tmp_path):
    assert run(tmp_path, "-P").stdout == "imported\n"


def test_a_folder_without_init_does_not_shadow(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "script.py").write_text("import workbench\nprint('imported')\n")
    assert run(tmp_path).stdout == "imported\n"
