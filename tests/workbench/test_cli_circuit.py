"""`workbench circuit`: edges, paths and latents that prompts' answers go through, each beside its control."""

import json

import pytest
import torch

from models import Recurrent, RecurrentConfig, TrainConfig, Transformer, TransformerConfig, train
from models.artifacts import ArtifactError, publishing
from models.corpus.tokenizer import train_tokenizer
from models.dataset import Dataset
from workbench.circuits import Graph, acdc, edge_attribution, faithfulness
from workbench.cli import main as cli
from workbench.cli import offered
from workbench.experiments import circuit_search, minimal_pair_prompts, read_circuit
from workbench.experiments.circuit_results import KEPT, part_name, read_as
from workbench.interventions.path_patching import path_patching
from workbench.runs import Run
from workbench.sae import SAEConfig, build_sae
from workbench.sae.saving import save_sae

LINES = "def f(self, x):\n    return g(x) + h[x]\nclass A(B):\n    def a(self):\n        y = {x}\n        z = 'x'\n"
HOOKS = ("blocks.0.mlp.hook_post", "blocks.1.hook_resid_post")
PAIRS = ("--pairs", "bracket", "--n", "6", "--controls", "2")


def corpus():
    tokenizer = train_tokenizer([LINES] * 8, vocab_size=300)
    ids = [0, *tokenizer.encode(LINES, add_special_tokens=False).ids][:24]
    rows = torch.tensor([ids] * 12)
    rows[::2, 7] = rows[0, 8]
    dataset = Dataset(rows, tokenizer=tokenizer)
    dataset.doc_table = dataset.doc_table.set_column(1, "split", [["test"] * 4 + ["train"] * 8])
    return dataset


def subject_of(dataset, path, model):
    model.tokenizer = dataset.tokenizer
    train(model, dataset, TrainConfig(n_steps=3, batch_size=4), run=path)
    return path


def add_dictionary(path, name, hook, d_in, architecture="topk"):
    run = Run.open(path)
    config = {"hook_name": hook, "architecture": architecture, "d_in": d_in, "d_sae": 32, "k": 6}
    inputs = run.inputs(run.find("model"))
    with publishing(run.path_of("sae", name), "sae", inputs=inputs, config={"sae": config}) as draft:
        save_sae(build_sae(SAEConfig(**config)), draft.path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A transformer that has read a few lines of Python source, with two dictionaries."""
    dataset = corpus()
    cfg = TransformerConfig(n_layers=2, d_model=16, n_heads=2, d_mlp=16, n_ctx=48, d_vocab=dataset.d_vocab)
    path = subject_of(dataset, tmp_path_factory.mktemp("runs") / "source", Transformer(cfg))
    for name, hook in zip(("neurons", "stream"), HOOKS, strict=True):
        add_dictionary(path, name, hook, 16)
    return path


@pytest.fixture(scope="module")
def gru(tmp_path_factory):
    dataset = corpus()
    cfg = RecurrentConfig(cell="gru", n_layers=1, d_model=12, d_vocab=dataset.d_vocab)
    path = subject_of(dataset, tmp_path_factory.mktemp("runs") / "gru", Recurrent(cfg))
    add_dictionary(path, "states", "blocks.0.hook_out", 12)
    return path


def run_verb(path, *options, capsys):
    assert cli.main(["circuit", "--run", str(path), "--json", *options]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(path, *options, capsys):
    assert cli.main(["circuit", "--run", str(path), *options]) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def asked(path):
    model = Run.open(path).model()
    prompts = minimal_pair_prompts(model, "bracket", 6, 0)
    return model, (prompts.clean, prompts.corrupt, prompts.metric)


def test_edges_are_scored_as_the_function_does_and_the_strongest_kept(source, capsys):
    told = run_verb(source, *PAIRS, "--edges", "7", "--name", "scored", capsys=capsys)
    found = read_circuit(told["path"])
    model, given = asked(source)
    wanted = edge_attribution(model, *given, steps=5, n_controls=2)
    assert found.edges["score"].tolist() == pytest.approx(wanted["score"].tolist(), abs=1e-6)
    own = found.edges[found.edges["seed"].isna()]
    assert own["kept"].sum() == told["kept"] == 7
    assert own.loc[own["kept"], "score"].abs().min() >= own.loc[~own["kept"], "score"].abs().max()
    for _, dealt in found.edges[found.edges["seed"].notna()].groupby("seed"):
        assert sorted(dealt["score"]) == pytest.approx(sorted(own["score"])), "the same scores, elsewhere"
        assert dealt["kept"].sum() == 7
    assert not found.features
    ends = found.edge_means[["sender", "receiver"]].itertuples(index=False, name=None)
    dealt = found.edges[found.edges["seed"].notna()].set_index(["sender", "receiver"])["score"]
    assert found.edge_means["random"].tolist() == pytest.approx(
        [dealt.loc[[edge]].mean() for edge in ends], nan_ok=True
    )


def test_what_is_kept_is_run_alone_and_taken_out_beside_random_circuits(source, capsys):
    found = read_circuit(run_verb(source, *PAIRS, "--edges", "8", "--name", "faithful", capsys=capsys)["path"])
    model, given = asked(source)
    wanted = faithfulness(model, *given, {KEPT: found.kept}, n_controls=2)
    ours = found.faithfulness[found.faithfulness["circuit"] == KEPT]
    assert ours["share"].tolist() == pytest.approx(wanted["share"].tolist(), abs=1e-5)
    assert (ours["edges"] == 8).all()
    assert found.faithfulness["edges"].unique().tolist() == [8, 2, 4, 16]
    assert set(ours["variant"]) == {"circuit", "random circuit"}
    assert found.shares["alone"] == pytest.approx(wanted["share"].iloc[0], abs=1e-5)


def test_paths_are_the_strongest_edges_but_those_from_embeddings(source, capsys):
    found = read_circuit(run_verb(source, *PAIRS, "--paths", "3", "--name", "paths", capsys=capsys)["path"])
    ends = found.paths[["sender", "receiver"]].drop_duplicates().to_numpy().tolist()
    strongest = [pair for pair in found.kept[["sender", "receiver"]].to_numpy().tolist() if "embed" not in pair[0]]
    assert ends == strongest[:3]
    assert set(found.paths["norm"]) == {"recomputed"}
    assert set(found.paths["variant"]) == {"patch", "random direction"}
    model, given = asked(source)
    first = next(edge for edge in circuit_search.chosen_paths(model, found.edges, 1))
    wanted = path_patching(model, *given, [first.sender], [first.receiver], n_controls=2)
    assert found.paths["effect"].head(3).tolist() == pytest.approx(wanted["effect"].tolist(), abs=1e-6)
    means = found.path_means
    assert means[["sender", "receiver"]].to_numpy().tolist() == strongest[:3]
    assert means["random"].iloc[0] == pytest.approx(wanted["effect"].iloc[1:].mean(), abs=1e-6)


def test_acdc_keeps_what_the_function_keeps_at_a_hundredth_of_the_gap(source, capsys):
    told = run_verb(source, *PAIRS, "--search", "acdc", "--name", "acdc", capsys=capsys)
    found = read_circuit(told["path"])
    threshold = abs(told["clean"] - told["corrupt"]) / 100
    assert found.edges["threshold"].unique().tolist() == pytest.approx([threshold])
    model, given = asked(source)
    wanted = acdc(model, *given, threshold, n_controls=2)
    assert found.edges["kept"].tolist() == wanted["kept"].tolist()
    own = found.edges["seed"].isna() & found.edges["kept"]
    drawn = (found.edges["seed"] == 0) & found.edges["kept"]
    assert sorted(found.edges.loc[own, "score"]) == sorted(found.edges.loc[drawn, "score"])


def test_latents_stand_beside_random_directions_random_nodes_and_neurons(source, capsys):
    told = run_verb(source, *PAIRS, "--features", "neurons", "stream", "--name", "features", capsys=capsys)
    assert told["dictionaries"] == dict(zip(HOOKS, ("neurons", "stream"), strict=True))
    found = read_circuit(told["path"])
    assert set(found.features["dictionary"]) == {"latents", "neurons"}
    assert set(found.features["variant"]) == {"integrated gradients", "random direction"}
    own = found.strongest_features
    assert (own["kind"] == "error").sum() == 2, "an error for each hook"
    assert own["effect"].abs().is_monotonic_decreasing
    controls = found.features[found.features["dictionary"].eq("latents") & found.features["seed"].notna()]
    error = controls[(controls["hook"] == HOOKS[0]) & controls["unit"].isna()]["effect"].mean()
    means = found.feature_means[(found.feature_means["hook"] == HOOKS[0]) & found.feature_means["unit"].isna()]
    assert means["random"].tolist() == pytest.approx([error]), "the error's own random directions"
    pairs = found.feature_edges[["from_hook", "to_hook"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [list(HOOKS)]
    assert set(found.feature_edges["variant"]) == {"attribution", "random edges"}
    sizes = found.feature_faithfulness
    assert set(sizes["variant"]) == {"largest effects", "random nodes"}
    assert set(sizes["errors"]) == {"as nodes", "kept"}
    last = sizes[(sizes["variant"] == "largest effects") & (sizes["errors"] == "as nodes")].groupby("dictionary").last()
    assert last["share"].tolist() == pytest.approx([1, 1], abs=1e-4), "with every node kept nothing is changed"
    assert set(told["features"]) == {"latents", "neurons"}


def test_latents_of_a_recurrent_subject_are_looked_at_without_a_graph(gru, capsys):
    found = read_circuit(run_verb(gru, *PAIRS, "--features", "states", capsys=capsys)["path"])
    assert found.edges is None
    assert found.paths is None
    assert found.kept.empty
    assert len(found.strongest_features) > 1


def test_a_subject_without_a_graph_of_edges_is_refused(gru, capsys):
    assert "a Recurrent has no graph of edges" in refused(gru, *PAIRS, "--name", "none", capsys=capsys)
    assert not Run.open(gru).unfinished()


def test_what_was_found_is_told_beside_chance(source, capsys):
    options = [*PAIRS, "--features", "neurons", "--name", "told"]
    n_edges = len(Graph.of(asked(source)[0]).edges)
    assert cli.main(["circuit", "--run", str(source), *options]) == 0
    said = capsys.readouterr().out
    told = (
        *(f"20 of {n_edges} edges kept", "dealt at random", "by these edges alone (random circuits as large"),
        *("norms recomputed", "random direction", "kept of the metric by the largest", "next: workbench"),
    )
    for words in told:
        assert words in said
    assert cli.main(["circuit", "--run", str(source), *options]) == 0, "what is there is not made again"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "prompts are wanted from one place"),
        ((*PAIRS, "--search", "acdc", "--edges", "5"), "--edges is of --search attribution"),
        ((*PAIRS, "--search", "acdc", "--steps", "5"), "acdc takes no gradients"),
        ((*PAIRS, "--threshold", "-1"), "the threshold is -1.0: it must be above 0"),
        ((*PAIRS, "--threshold", "1e9"), "no edge is kept at the threshold 1e+09"),
        ((*PAIRS, "--controls", "0"), "the number of controls"),
        ((*PAIRS, "--features", "absent"), "has no sae 'absent': there are neurons, stream"),
        ((*PAIRS, "--features", "stream", "stream"), "stream and stream are both of blocks.1.hook_resid_post"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(source, capsys, options, message):
    assert message in refused(source, *options, "--name", "refused", capsys=capsys)
    assert not (source / "analyses/refused").exists()


def test_another_analysis_is_no_circuit(source, capsys):
    cli.main(["patch", "--run", str(source), "--pairs", "bracket", "--n", "4", "--by", "head", "--name", "heads"])
    with pytest.raises(ArtifactError, match="is no circuit"):
        read_circuit(source / "analyses/heads")


def test_a_table_that_is_gone_is_damage(source, capsys):
    path = Run.open(source).path_of("analysis", "gone")
    run_verb(source, *PAIRS, "--name", "gone", capsys=capsys)
    (path / "faithfulness.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"damaged: it lacks faithfulness.parquet"):
        read_circuit(path)


def test_parts_have_short_names():
    assert [part_name(f"blocks.1.{hook}") for hook in ("attn.hook_k_input[3]", "hook_mlp_in", "hook_resid_post")] == [
        "1.3",
        "MLP 1",
        "output",
    ]
    assert part_name("hook_embed") == "embed"
    assert read_as("blocks.1.attn.hook_k_input[3]") == "keys"
    assert not read_as("blocks.1.hook_mlp_in")


def test_what_is_offered_is_what_there_is():
    assert offered.SEARCHES == circuit_search.SEARCHES
