"""The Python under a figure makes that figure: every one of every page is executed and held against what was drawn."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest
from test_views import charts, opened
from tiny_run import HOOK, WICKED
from typechecker import unchecked

from apps import shown
from workbench.cli.circuit import make_circuit
from workbench.cli.lens import make_lens
from workbench.cli.patch_rotation import make_rotation
from workbench.cli.prompt_options import AskedPrompts
from workbench.cli.steer import AskedDirection, make_steering
from workbench.features import FeatureIndex
from workbench.features.on_demand.ablation_effects_kept import keep_effects
from workbench.runs import Run


@dataclass(frozen=True)
class Offered:
    """What a page offers beneath one figure."""

    chart: Any
    table: pd.DataFrame
    python: str


STATES = {"run": "gru", "prompt": "return self.total", "layer": "1", "pane_gates": "true"}
PAGES: list[tuple[str, dict[str, str]]] = [
    ("runs", {"run": "tiny"}),
    ("runs", {"run": "flip-flop"}),
    ("features", {"run": "tiny", "density_open": "true"}),
    ("features", {"run": "tiny", "density_open": "true", "kind": "token"}),
    ("features", {"run": "tiny", "density_open": "true", "sample": "return self"}),
    ("probes", {"run": "probed"}),
    ("probes", {"run": "probed", "label": WICKED, "estimator": "means", "difference": "true"}),
    ("population", {"run": "population"}),
    ("population", {"run": "population", "variables": "heading", "measure": "error", "decoder": WICKED}),
    ("dynamics", {"run": "dynamics", "point": "1"}),
    ("dynamics", {"run": "dynamics", "subject": "untrained", "colour": "bit_1"}),
    ("attention", {"run": "circuits", "sequence": "held out 1"}),
    ("attention", {"run": "aligned"}),
    ("interventions", {"run": "circuits", "patch": "patch"}),
    ("interventions", {"run": "circuits", "patch": "by-head"}),
    ("interventions", {"run": "aligned"}),
    ("compare", {"run": "tiny", "what": "Sets of rows"}),
    ("compare", {"run": "tiny", "what": "Sets of rows", "first": "in_comment == True"}),
    ("compare", {"run": "tiny", "what": "Sets of rows", "sets": "Two documents"}),
    ("compare", {"run": "tiny", "what": "Runs", "beside": "gru"}),
    ("states", {"run": "gru", "prompt": f"return {WICKED}"}),
    ("states", STATES | {"value": "reset", "unit": "5", "token": "3", "count": "16", "units": "2"}),
    ("states", STATES | {"value": "h", "unit": "2", "count": "24", "order": "variance"}),
    ("prompt_lab", {"run": "gru", "prompt": WICKED, "prompt2": "return value", "token": "1", "pane_lens": "true"}),
]
LOOKS = ["Circuit", "Directions", "Lens", "Steering"]


@pytest.fixture(scope="module")
def intervened(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with a circuit, learned directions, read layers and kept steering, of prompts that would do harm."""
    root = tmp_path_factory.mktemp("intervened")
    run = Run.open(shutil.copytree(runs_root / "tiny", root / "tiny"))
    clean, corrupt = (f"# {WICKED}\ndef make_{i}(self" for i in (1, 2))
    asked = AskedPrompts(clean=clean, corrupt=corrupt, answer=",", wrong=")")
    with unchecked():
        make_circuit(run, asked, n_paths=3, features=["small"], n_controls=2)
        make_rotation(run, AskedPrompts(examples=True, n=12), hooks=[HOOK], k=[1], steps=5, n_controls=2)
        make_lens(run, n_tokens=400, prompt=f"# {WICKED}\nreturn self")
        make_steering(run, [f"# {WICKED}", "return self"], AskedDirection(feature="small/3"), max_new=5)
    return root


@pytest.fixture
def offered(explorer_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Offered]]:
    """Open a page, and what it offers beneath its figures, by name."""

    def at(page: str, **parameters: str) -> dict[str, Offered]:
        found: dict[str, Offered] = {}

        def noted(chart: Any, table: pd.DataFrame, *, name: str, python: str) -> None:
            found[name] = Offered(chart, table, python)

        with monkeypatch.context() as patch:
            patch.setattr(shown, "taken_along", noted)
            app = opened(page, **parameters)
        # Maps of units flow beside each other, and are taken along as one.
        as_one = found["units"].table["unit"].nunique() - 1 if "units" in found else 0
        assert len(found) + as_one >= len(charts(app)), "a chart is drawn without its code"
        return found

    return at


def made(python: str) -> Any:
    """The chart that code leaves."""
    names: dict[str, Any] = {}
    exec(compile(python, "<copied>", "exec"), names)
    return names["chart"]


def told(chart: Any) -> str:
    """All of a chart with its data; names that Altair counts up are told by where they first stand."""
    with alt.data_transformers.disable_max_rows():
        text = json.dumps(chart.to_dict(), sort_keys=True)
    known: dict[str, str] = {}
    return re.sub(r'"((?:param|view|concat)_\d+)', lambda m: '"' + known.setdefault(m[1], f"name{len(known)}"), text)


def same(found: dict[str, Offered]) -> None:
    """Every figure is what its code makes."""
    assert found
    for name, figure in found.items():
        assert len(figure.table), name
        assert told(made(figure.python)) == told(figure.chart), name


def _named(value: str | dict[str, str]) -> str:
    return value if isinstance(value, str) else "-".join(value.values()).replace(WICKED, "wicked")


@pytest.mark.parametrize(("page", "parameters"), PAGES, ids=_named)
def test_every_figure_is_made_again_by_its_code(page: str, parameters: dict[str, str], offered: Callable) -> None:
    same(offered(page, **parameters))


@pytest.mark.parametrize("look", LOOKS)
def test_so_are_those_of_interventions(
    look: str, intervened: Path, offered: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(intervened))
    text = f"return {WICKED}"
    same(offered("interventions", look=look, run="tiny", prompt=text, f="3", written="true"))


def test_so_are_those_of_a_features_own_page(
    intervened: Path, offered: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(intervened))
    run = Run.open(intervened / "tiny")
    row = FeatureIndex.open(run.find("features").path).table.sort_values("density").iloc[-1]
    with unchecked():
        keep_effects(run, run.find("features"), [int(row["feature"])])
    found = offered("features", run="tiny", feature=str(row["feature"]), neuron_open="true")
    beside = f"feature-{row['feature']}-neuron-{row['neuron']}"
    assert set(found) == {"activation-histogram", f"taking-out-{row['feature']}", beside}
    same(found)


def test_so_is_that_of_two_dictionaries(
    runs_root: Path, tmp_path: Path, offered: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(runs_root / "tiny", tmp_path / "tiny")
    shutil.copytree(run / "saes/small", run / "saes/again")
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path))
    found = offered("compare", run="tiny", what="Dictionaries")
    same(found)
    assert found["partners"].table["cosine"].min() > 1 - 1e-5, "each is its own partner"
