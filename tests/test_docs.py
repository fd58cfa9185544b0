"""What the pages on populations and dynamics show runs as it stands there."""

import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["population", "dynamics"])
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", (HOUSE / f"docs/{page}.md").read_text("utf8"), flags=re.DOTALL)
    assert examples
    for code in examples:
        exec(compile(code, page, "exec"), {})
