"""What the README points at is there, and what it imports can be imported."""

import ast
import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
README = (HOUSE / "README.md").read_text("utf8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
IMPORTS = [node for code in SNIPPETS for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]


@pytest.mark.parametrize(
    "link", re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`(docs/[\w.-]+|CONTRIBUTING.md)`", README)
)
def test_links_resolve(link):
    assert (HOUSE / link).exists()


@pytest.mark.parametrize("node", IMPORTS, ids=lambda node: node.module)
def test_public_names_are_there(node):
    module = __import__(node.module, fromlist=[alias.name for alias in node.names])
    for alias in node.names:
        assert hasattr(module, alias.name)


def test_the_verbs_it_shows_exist():
    from workbench.cli.main import VERBS

    shown = re.findall(r"^workbench (\w+)", README, flags=re.MULTILINE)
    assert len(shown) >= 6
    assert set(shown) <= set(VERBS)
