"""What the pages on populations and dynamics show runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]


@pytest.mark.examples
def test_the_examples_run(tmp_path):
    """In a process of their own: checked types would make them slow."""
    pages = [(HOUSE / f"docs/{page}.md").read_text("utf8") for page in ("population", "dynamics")]
    examples = [re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) for page in pages]
    assert all(examples)
    code = "\n".join(chunk for page in examples for chunk in page)
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
