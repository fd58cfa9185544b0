"""Which edges between a subject's parts, and which latents, an answer goes through, beside what chance finds."""

from typing import Literal

from apps.export.blocks import Block, Cell, Column, Fact, Facts, Halves, Picture, Section, Table, Words
from apps.export.cells import change
from apps.text import number, signed
from workbench.experiments import Circuit, read_circuit
from workbench.experiments.circuit_drawn import drawn_edges, drawn_features
from workbench.experiments.circuit_results import LATENTS, part_name, read_as
from workbench.figures import circuit_graph, faithfulness, path_effects
from workbench.figures.hook_names import short_hooks
from workbench.runs import Artifact, Run

_DRAWN, _LISTED = 60, 200  # edges of the graph; lines of a table
_SEARCHES = {"attribution": "attribution", "acdc": "ACDC"}
_ENDS = (Column("from", "word"), Column("to", "word"), Column("read as", "word"))


def circuit(run: Run, artifact: Artifact) -> tuple[str, list[Block]]:
    """The title of a circuit's section, and what it shows."""
    found, name = read_circuit(artifact.path), artifact.name
    blocks: list[Block] = [_about(found, artifact)]
    if found.edges is not None:
        blocks += _edges(found, name)
    if found.paths is not None:
        blocks += _paths(found, name)
    if found.features is not None:
        blocks.append(_latents(found, name))
    return f"Circuit by {_SEARCHES[found.search]}", blocks


def _about(found: Circuit, artifact: Artifact) -> Facts:
    config = artifact.manifest.config
    told, shares = config["results"], found.shares
    shown = [
        Fact("Pairs", f"{told['pairs']:,}", f"{config['ablation']} ablation"),
        Fact("Clean metric", signed(told["clean"]), f"{signed(told['corrupt'])} corrupt", "Means over the prompts."),
    ]
    if shares:
        shown += [
            Fact("Edges kept", f"{told['kept']:,}", f"of {told['edges']:,}", "Every other edge is cut."),
            Fact(
                "By these edges alone",
                _share(shares["alone"]),
                f"{_share(shares['random alone'])} random circuits",
                "Share of the whole subject's metric; 0 is every edge cut. Random circuits have as many edges.",
                "trained",
            ),
            Fact(
                "Without them",
                _share(shares["without"]),
                f"{_share(shares['random without'])} without random ones",
                "Share that is left where these edges alone are cut.",
            ),
        ]
    for kind, (n, share, random) in found.feature_shares.items():
        hue: Literal["trained", "neurons"] = "trained" if kind == LATENTS else "neurons"
        note = "Kept of the metric by the nodes of the largest effects, all others of these hooks ablated."
        shown.append(Fact(f"By {n} {kind}", _share(share), f"{_share(random)} random ones", note, hue))
    return Facts(shown)


def _edges(found: Circuit, name: str) -> list[Block]:
    table, stages = drawn_edges(found)
    said = "Blue carries the answer, vermilion works against it. On the right the same scores on random edges."
    graph = Picture(circuit_graph(table, stages, most=_DRAWN), table, f"circuit {name}", said)
    lines = found.edge_means
    rows = [
        [*_ends(line.sender, line.receiver), change(line.score, 3), change(line.random, 3)]
        for line in lines.head(_LISTED).itertuples()
    ]
    columns = [*_ENDS, Column("effect of cutting"), Column("at random")]
    kept = Table(columns, rows, "Edges that are kept", sorts=True, tall=True)
    if found.faithfulness is None:
        return [graph, kept]
    beside = "From 0, where every edge is cut, to 1, the whole subject. Grey: random circuits as large."
    sizes = Picture(faithfulness(found.faithfulness), found.faithfulness, f"circuit sizes {name}", beside)
    return [graph, Halves([kept], [sizes])]


def _paths(found: Circuit, name: str) -> list[Block]:
    assert found.paths is not None
    rows = [
        [*_ends(line.sender, line.receiver), change(line.effect, 3), change(line.random, 3)]
        for line in found.path_means.itertuples()
    ]
    columns = [*_ENDS, Column("restored"), Column("random direction")]
    said = (
        "Of the gap between the corrupt prompts (0) and the clean ones (1); grey, moves as large in random directions."
    )
    picture = Picture(path_effects(found.paths), found.paths, f"circuit paths {name}", said)
    listed = Table(columns, rows, "Paths patched one by one", sorts=True)
    return [Section("What each path restores", [Halves([listed], [picture])], small=True)]


def _latents(found: Circuit, name: str) -> Section:
    assert found.features is not None
    table, stages = drawn_features(found)
    names = {node: node.rpartition(" ")[2] for stage in stages for node in stage}
    said = "A line to the answer is all that a latent does, by whatever way; error is what the dictionary leaves out."
    blocks: list[Block] = [Picture(circuit_graph(table, stages, names=names), table, f"circuit latents {name}", said)]
    short = short_hooks(list(found.dictionaries))
    rows = [
        [
            Cell(short[line["hook"]]),
            Cell("error" if line["kind"] == "error" else str(line["unit"])),
            change(line["effect"], 3),
            change(line["random"], 3),
        ]
        for line in found.feature_means.head(_LISTED).to_dict("records")
    ]
    columns = [Column("hook", "word"), Column("latent", "word"), Column("effect"), Column("random direction")]
    listed = Table(columns, rows, "Largest effects", sorts=True, tall=True)
    if (sizes := found.feature_faithfulness) is None:
        blocks.append(listed)
    else:
        beside = "All others of these hooks are ablated. Grey: as many random ones."
        blocks.append(Halves([listed], [Picture(faithfulness(sizes), sizes, f"circuit nodes {name}", beside)]))
    blocks.append(Words("Effects are the metric's change when a latent is ablated, estimated from gradients."))
    return Section("Latents that the answer goes through", blocks, small=True)


def _ends(sender: str, receiver: str) -> list[Cell]:
    return [Cell(words) for words in (part_name(sender), part_name(receiver), read_as(receiver))]


def _share(value: float) -> str:
    """Two digits, and no minus before nothing."""
    return number(round(value, 2) + 0.0)
