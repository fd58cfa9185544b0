"""What the README points at is there, and what it imports can be imported."""

import ast
import re
import subprocess
import sys
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


def test_the_probing_example_needs_nothing_but_probes():
    """In an environment in which nothing else of ours, and none of what the rest needs, can be imported."""
    example = next(code for code in SNIPPETS if "load_digits" in code)
    elsewhere = ["models", "workbench", "apps", "transformer_lens", "transformers", "streamlit", "altair", "pyarrow"]
    walled = f"""
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {elsewhere}:
            raise ImportError(name + " is out of reach")
sys.meta_path.insert(0, Wall())
import probes.detection
{example}
found = report.set_index(["label", "variant"])["accuracy"]
print(found["digit", "probe"], found["digit", "shuffled labels"], len(report))
"""
    ran = subprocess.run([sys.executable, "-c", walled], cwd=HOUSE, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    probe, shuffled, lines = map(float, ran.stdout.split())
    assert probe > 0.9
    assert shuffled < 0.2
    assert lines == 12
