"""The circuits of the interventions page without a browser: edges, paths and latents of two prompts."""

import shutil
from pathlib import Path

import pytest
from test_views import charts, component, opened, unescaped_tags, words
from tiny_run import HOOK, WICKED
from typechecker import unchecked

from apps.views.circuit import _share
from models.artifacts import publishing
from workbench.cli.circuit import make_circuit
from workbench.cli.prompt_options import AskedPrompts
from workbench.experiments import Circuit, read_circuit
from workbench.experiments.circuit_drawn import ANSWER, AT_RANDOM, drawn_edges, drawn_features
from workbench.experiments.circuit_results import part_name
from workbench.figures import circuit_graph
from workbench.runs import Run
from workbench.sae import SAEConfig, build_sae
from workbench.sae.saving import save_sae

pytestmark = pytest.mark.usefixtures("circuits_environment")


@pytest.fixture(scope="module")
def circuits(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with a circuit of its edges and latents, of prompts that would do harm; two without one."""
    root = tmp_path_factory.mktemp("circuits")
    for name in ("tiny", "gru", "unindexed"):
        shutil.copytree(runs_root / name, root / name)
    pair = [f"# {WICKED}\ndef make_{i}(self" for i in (1, 2)]
    asked = AskedPrompts(clean=pair[0], corrupt=pair[1], answer=",", wrong=")")
    with unchecked():
        make_circuit(Run.open(root / "tiny"), asked, n_paths=3, features=["small"], n_controls=2)
    return root


@pytest.fixture
def circuits_environment(circuits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(circuits))
    monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "tiny")


@pytest.fixture
def circuit(circuits: Path) -> Circuit:
    return read_circuit(Run.open(circuits / "tiny").find("analysis", "circuit").path)


def test_what_the_circuit_does_stands_beside_random_ones(circuit: Circuit) -> None:
    app = opened("interventions", look="Circuit", run="tiny")
    shown = {fact["label"]: fact for fact in component(app, "facts", "edges kept")["facts"]}
    assert shown["edges kept"]["value"] == "20"
    assert shown["by these edges alone"]["value"].replace("−", "-") == f"{circuit.shares['alone']:.2f}"
    assert shown["without them"]["note"].endswith("without random ones")
    assert any(label.endswith("latents") for label in shown)
    assert any(label.endswith("neurons") for label in shown)


def test_graphs_and_tables_have_their_controls(circuit: Circuit) -> None:
    app = opened("interventions", look="Circuit", run="tiny")
    assert len(charts(app)) == 5, "edges, sizes, paths; latents, and how many keep how much"
    edges = component(app, "link_table", "effect of cutting")
    assert [column["label"] for column in edges["columns"]][-1] == "at random"
    assert len(edges["rows"]) == 20
    assert edges["rows"][0][0]["text"] == part_name(circuit.kept["sender"].iloc[0])
    paths = component(app, "link_table", "restored")
    assert len(paths["rows"]) == 3
    assert paths["columns"][-1]["label"] == "random direction"
    assert "norms recomputed" in paths["caption"]
    assert not unescaped_tags(app)


def test_latents_lead_to_their_pages() -> None:
    rows = component(
        opened("interventions", look="Circuit", run="tiny"), "link_table", "what the dictionary leaves out"
    )["rows"]
    linked = [row for row in rows if row[1]["text"] != "error"]
    assert linked
    assert all(f"feature={row[1]['text']}" in row[1]["href"] for row in linked)
    assert all(row[1]["href"].startswith("features?") for row in linked)


def test_the_command_is_named_where_there_is_none() -> None:
    assert "workbench circuit" in words(opened("interventions", look="Circuit", run="unindexed"))


def test_a_subject_without_a_graph_has_a_command_once_it_has_a_dictionary(
    circuits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(shutil.copytree(circuits / "gru", tmp_path / "latents"))
    config = {"hook_name": "blocks.0.rnn.hook_h", "architecture": "topk", "d_in": 24, "d_sae": 32, "k": 4}
    with publishing(
        run.path_of("sae", "of states"), "sae", inputs=run.inputs(run.find("model")), config={"sae": config}
    ) as draft:
        save_sae(build_sae(SAEConfig(**config)), draft.path)
    without = words(opened("interventions", look="Circuit", run="gru"))
    assert "workbench circuit" not in without
    assert "workbench sae" in without
    monkeypatch.setenv("WORKBENCH_EXPLORE_ROOT", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_EXPLORE_RUN", "latents")
    said = words(opened("interventions", look="Circuit", run="latents")).replace("\\", "")
    assert "--pairs bracket --features 'of states'" in said


def test_edges_are_drawn_between_parts_and_every_part_has_a_place(circuit: Circuit) -> None:
    edges, stages = drawn_edges(circuit)
    nodes = [node for stage in stages for node in stage if node]
    assert len(nodes) == len(set(nodes))
    assert {*edges["sender"], *edges["receiver"]} <= set(nodes)
    assert set(edges["variant"]) == {"attribution", AT_RANDOM}
    own = edges[edges["variant"] == "attribution"]
    assert own["score"].sum() == pytest.approx(-circuit.kept["score"].sum()), "what cutting loses, the edge carries"


def test_latents_are_drawn_with_what_they_add_to_the_answer(circuit: Circuit) -> None:
    edges, stages = drawn_features(circuit)
    assert stages[-1] == [ANSWER]
    assert set(edges["receiver"]) == {ANSWER}
    first = circuit.strongest_features.iloc[0]
    assert edges.iloc[0]["score"] == pytest.approx(-first["effect"])
    assert edges.iloc[0]["sender"].startswith(HOOK)


def test_nothing_has_no_sign() -> None:
    assert _share(-0.0004) == "0.00"


def test_free_places_have_no_node_and_names_are_written(circuit: Circuit) -> None:
    edges, stages = drawn_edges(circuit)
    spec = circuit_graph(edges, stages, names={"output": "the answer"}).to_dict()
    points = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "point")
    nodes = spec["datasets"][points["data"]["name"]]
    assert len(nodes) == 2 * sum(bool(node) for stage in stages for node in stage)
    assert {node["name"] for node in nodes if node["node"] == "output"} == {"the answer"}
    assert "as its" in str(spec), "a pointer is told whether queries, keys or values read an edge"
