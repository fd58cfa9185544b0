"""The subject that results share: found where it stands, made where it does not."""

import dataclasses
import shutil

import pytest

from models import recipes
from workbench.reproductions import Bench, python_source
from workbench.reproductions.python_source import HOOK, RECORDING
from workbench.runs import Run

TEXT = "def f(self, x):\n    return self.value + x * {i}\n\n\nclass A{i}:\n    y = f(1, {i})\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The recipe made small, on a little text; and a root where one result has made it."""
    path = tmp_path_factory.mktemp("python")
    (path / "text").mkdir()
    for i in range(20):
        (path / "text" / f"{i}.py").write_text(TEXT.replace("{i}", str(i)) * 14 + f"# {'word ' * i}\n")
    recipe = recipes.get("python-transformer").with_changes(n_steps=1)
    model = recipe.model | {"d_model": 8, "n_heads": 2, "d_mlp": 16, "n_ctx": 32}
    recipe = dataclasses.replace(recipe, model=model, vocab_size=300, n_ctx=32)
    build = python_source.build_corpus
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(python_source.recipes, "get", lambda name: recipe)
        patch.setattr(python_source, "build_corpus", lambda source, **kw: build(path / "text", **kw))
        patch.setattr(python_source, "SAMPLE", {"n_tokens": 2000, "test_share": 0.25, "seed": 0})
        bench, told = a_bench(path / "root", "one")
        found = python_source.python_source(bench)
        assert len(told) == 1
        yield found, path / "root"


@pytest.fixture
def small(made, tmp_path):
    """A copy of that root."""
    shutil.copytree(made[1], tmp_path / "root")
    return tmp_path / "root"


def a_bench(root, name):
    told = []
    return Bench(Run.create(root / "reproductions" / name / "quick").path, full=False, tell=told.append), told


def test_the_first_result_makes_it_and_the_others_find_it(made, small):
    other, told = a_bench(small, "two")
    found = python_source.python_source(other)
    assert not told
    assert found.store.hooks == [HOOK]
    assert found.store.id == made[0].store.id
    assert {(other.path / path).resolve() for path in found.inputs(other)} == {
        found.run.path / path for path in (f"activations/{RECORDING}", "model")
    }


def test_a_demo_beside_the_results_is_read_and_a_recording_of_other_rows_is_not(small, monkeypatch):
    (small / "reproductions/python-source").rename(small / "demo")
    bench, told = a_bench(small, "one")
    assert python_source.python_source(bench).run.path == small / "demo"
    assert not told
    monkeypatch.setitem(python_source.SAMPLE, "seed", 1)
    assert python_source.python_source(bench).run.path == small / "reproductions/python-source"
    assert len(told) == 1


def test_rows_and_documents_are_of_the_split_that_is_asked_for(made):
    source, _ = made
    rows = source.store.rows_of("test")
    assert len(rows) > 100
    assert sum(len(x) for x in source.in_order(rows)) == len(rows)
    splits = source.documents.doc_table["split"].to_numpy(zero_copy_only=False)
    assert (splits[source.documents.docs] == "test").all()
