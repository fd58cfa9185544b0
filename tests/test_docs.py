"""What pages of the docs show runs as it stands there."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
SOURCES = ("heapq.py", "bisect.py", "textwrap.py", "string.py", "fractions.py", "queue.py", "shlex.py", "copy.py")


@pytest.mark.examples
def test_the_examples_run(tmp_path):
    """In a process of their own: checked types would make them slow."""
    run(shown_in("population") + shown_in("dynamics"), tmp_path)


@pytest.mark.examples
def test_an_index_is_asked_as_the_page_on_features_shows(tmp_path):
    """Of a run that the verbs make in the demo's place, with a feature of it in the place of the demo's."""
    (tmp_path / "source").mkdir()
    for name in SOURCES:
        shutil.copy(Path(sysconfig.get_path("stdlib")) / name, tmp_path / "source")
    verbs = (
        "train --corpus source --steps 20",
        "harvest --tokens 8000",
        "sae --width 64 --k 4 --tokens 20000",
        "index",
    )
    for words in verbs:
        run(
            f"from workbench.cli.main import main\nassert main({[*words.split(), '--run', 'runs/demo']!r}) == 0",
            tmp_path,
        )
    code = shown_in("features")
    live = "int(index.table['density'].idxmax())"
    assert "feature = 1136\n" in code
    run(code.replace("feature = 1136\n", f"feature = {live}\n"), tmp_path)


def shown_in(page):
    """The Python of a page, one piece after the other."""
    found = re.findall(r"```python\n(.*?)```", (HOUSE / f"docs/{page}.md").read_text("utf8"), flags=re.DOTALL)
    assert found
    return "\n".join(found)


def run(code, folder):
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
