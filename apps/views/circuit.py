"""The part of the interventions page that shows circuits: which edges, and which latents, an answer goes through."""

from typing import Literal

import streamlit as st

from apps import serve, serve_results
from apps.choices import analyses, choose_analysis
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table, opened, signed_cell
from apps.layout import download, halves
from apps.next_commands import circuit_verb, command
from apps.place import FEATURES, Place, jump
from apps.shown import draw
from apps.text import escape_markdown, number, signed
from apps.told import Told, call, read
from workbench.experiments.circuit_drawn import drawn_edges, drawn_features
from workbench.experiments.circuit_results import LATENTS, Circuit, part_name, read_as, read_circuit
from workbench.figures import circuit_graph, faithfulness, path_effects
from workbench.figures.hook_names import short_hooks
from workbench.runs import Artifact, Run

_LISTED, _HEIGHT = 60, 320  # lines of a table; pixels
_SEARCHES = {
    "attribution": "By how much the metric changes when the edge alone is cut, estimated; beside it the same scores "
    "dealt out at random.",
    "acdc": "By how much further off the metric is when the edge is cut too; beside it the same scores dealt out to "
    "as many random edges.",
}


def show(here: Place) -> None:
    """Draw the section."""
    found = analyses(here.run, "circuit")
    st.subheader("Circuit", anchor=False)
    if not found:
        _none_yet(here.run)
        return
    artifact = choose_analysis(found, "circuit")
    circuit = serve_results.opened(artifact, read_circuit)
    _about(circuit, artifact)
    if circuit.edges is not None:
        _edges(here.run, circuit, artifact)
    if circuit.features is not None:
        _features(here, circuit, artifact)


def _none_yet(run: Run) -> None:
    """The command that searches for one, if any does: of a subject without a graph of edges, by its latents."""
    verb = circuit_verb(run, serve.model(run))
    if verb is None:
        st.caption(
            "Graphs of edges are of decoder-only transformers, and this subject is none. Of latents a circuit is "
            "found once there is a dictionary: workbench sae makes one."
        )
        return
    st.caption("No circuit was searched for yet. This command searches for one, as it does of other prompts:")
    st.code(command(run, verb), language="shell")


def _about(circuit: Circuit, artifact: Artifact) -> None:
    config = artifact.manifest.config
    told, shares = config["results"], circuit.shares
    shown = [
        Fact("clean metric", signed(told["clean"]), f"{signed(told['corrupt'])} corrupt", "Means over the prompts."),
    ]
    if shares:
        shown += [
            Fact("edges kept", f"{told['kept']:,}", f"of {told['edges']:,}", "Every other edge is cut."),
            Fact(
                "by these edges alone",
                _share(shares["alone"]),
                f"{_share(shares['random alone'])} random circuits",
                "Share of the whole subject's metric; 0 is every edge cut. Random circuits have as many edges.",
                "trained",
            ),
            Fact(
                "without them",
                _share(shares["without"]),
                f"{_share(shares['random without'])} without random ones",
                "Share that is left where these edges alone are cut.",
            ),
        ]
    for name, (n, share, random) in circuit.feature_shares.items():
        hue: Literal["trained", "neurons"] = "trained" if name == LATENTS else "neurons"
        note = "Kept of the metric by the nodes of the largest effects, all others of these hooks ablated."
        shown.append(Fact(f"by {n} {name}", _share(share), f"{_share(random)} random ones", note, hue))
    facts(shown, key="circuit_facts")
    asked = f"pairs of the kind {config['pairs']}" if config["pairs"] else "examples" if config["examples"] else "pair"
    stale = " :material/history: Stale: something it was made from has changed since." if artifact.stale else ""
    search = {"attribution": "Attribution", "acdc": "ACDC"}[circuit.search]
    st.caption(
        f"{search}, {escape_markdown(config['ablation'])} ablation; {told['pairs']:,} {escape_markdown(asked)}.{stale}"
    )


def _edges(run: Run, circuit: Circuit, artifact: Artifact) -> None:
    told = read(run, artifact, "circuit", read_circuit, circuit)
    drawn = told.into(drawn_edges).named("drawn")
    chart = call(circuit_graph, drawn.item(0), drawn.item(1), most=_LISTED)
    words = "The circuit: edges between heads, MLPs, embeddings and output, beside the same scores on random edges"
    draw(chart, drawn.item(0), name="circuit", alt=words)
    st.caption("Blue carries the answer, vermilion works against it. On the right the same scores on random edges.")
    left, right = halves()
    with left:
        _edge_table(circuit)
        download(circuit.edges, "Edges as CSV", f"{artifact.name}-edges")
    with right:
        _sizes(told)
    _paths(told, artifact)


def _edge_table(circuit: Circuit) -> None:
    columns = [
        Column("from", "word"),
        Column("to", "word"),
        Column("read as", "word"),
        Column("effect of cutting", "bar-number", _SEARCHES[circuit.search]),
        Column("at random", "bar-number"),
    ]
    shown = circuit.edge_means.head(_LISTED)
    rows = [
        [
            *(Cell(words) for words in (part_name(line.sender), part_name(line.receiver), read_as(line.receiver))),
            *_beside(line.score, line.random, float(shown["score"].abs().max()), carries=-line.score),
        ]
        for line in shown.itertuples()
    ]
    link_table(columns, rows, key="circuit_edges", height=_HEIGHT, caption="Edges that are kept")


def _sizes(told: Told) -> None:
    """Circuits by size: what each does alone and what is left without it, beside random ones."""
    if told.value.faithfulness is None:
        return
    table = told.at("faithfulness")
    words = "Share of the metric by number of edges: the circuit alone and all without it, beside random circuits"
    draw(table.into(faithfulness), table, name="circuit-sizes", alt=words)
    st.caption("Of 0, where every edge is cut, to 1, the whole subject. Grey: random circuits as large.")


def _paths(told: Told, artifact: Artifact) -> None:
    circuit: Circuit = told.value
    if circuit.paths is None:
        return
    (norm,) = circuit.paths["norm"].unique()
    columns = [
        Column("from", "word"),
        Column("to", "word"),
        Column("read as", "word"),
        Column("restored", "bar-number", f"Share of the gap between corrupt (0) and clean (1); norms {norm}."),
        Column("random direction", "bar-number"),
    ]
    largest = float(circuit.path_means["effect"].abs().max())
    rows = [
        [
            *(Cell(words) for words in (part_name(line.sender), part_name(line.receiver), read_as(line.receiver))),
            *_beside(line.effect, line.random, largest, carries=line.effect),
        ]
        for line in circuit.path_means.itertuples()
    ]
    left, right = halves()
    with left:
        link_table(columns, rows, key="circuit_paths", caption=f"Paths patched one by one, norms {norm}")
        download(circuit.paths, "Paths as CSV", f"{artifact.name}-paths")
    with right:
        table = told.at("paths")
        words = "What each path restores when it alone is patched, beside random directions, with intervals"
        draw(table.into(path_effects), table, name="circuit-paths", alt=words)


def _features(here: Place, circuit: Circuit, artifact: Artifact) -> None:
    assert circuit.features is not None
    st.subheader("Latents that the answer goes through", anchor=False)
    told = read(here.run, artifact, "circuit", read_circuit, circuit)
    drawn = told.into(drawn_features).named("drawn")
    names = {node: node.rpartition(" ")[2] for stage in drawn.value[1] for node in stage}
    chart = call(circuit_graph, drawn.item(0), drawn.item(1), names=names)
    words = "Latents by hook, what they pass on, and what they add to the answer, beside random directions"
    draw(chart, drawn.item(0), name="latents", alt=words)
    upwards = " and, above it, ".join(short_hooks(circuit.features["hook"].unique().tolist()).values())
    between = " One between latents is what it does by way of that other alone." * (circuit.feature_edges is not None)
    st.caption(
        f"Latents of {escape_markdown(upwards)}, and what each dictionary leaves out (error). "
        f"A line to the answer is all that a latent does, by whatever way.{between}"
    )
    left, right = halves()
    with left:
        _latents(here, circuit)
        download(circuit.features, "Latents as CSV", f"{artifact.name}-latents")
    with right:
        _nodes_kept(told)


def _latents(here: Place, circuit: Circuit) -> None:
    """The largest effects, each latent with a link to its page and its name there, where it has been indexed."""
    own = circuit.feature_means.head(_LISTED)
    largest = float(own["effect"].abs().max())
    indexed = _indexes(here, circuit)
    short = short_hooks(list(circuit.dictionaries))
    rows = []
    for line in own.to_dict("records"):
        hook, unit = line["hook"], line["unit"]
        href, name = "", "what the dictionary leaves out" if line["kind"] == "error" else ""
        if line["kind"] != "error" and hook in indexed:
            index, words = indexed[hook]
            href, name = here.href(FEATURES, index=index.name, feature=unit), words.get(unit, "")
        rows.append(
            [
                Cell(short[hook]),
                Cell("error" if line["kind"] == "error" else str(unit), href),
                Cell(name),
                *_beside(line["effect"], line["random"], largest, carries=-line["effect"]),
            ]
        )
    columns = [
        Column("hook", "word"),
        Column("latent", "word"),
        Column("name", "text"),
        Column("effect", "bar-number", "By how much the metric changes when it is ablated, estimated."),
        Column("random direction", "bar-number", "The same activity, written along random directions as long."),
    ]
    key = "circuit_latents"

    def follow() -> None:
        line = own.iloc[opened(key)[0]]
        jump(FEATURES, index=indexed[line["hook"]][0].name, feature=line["unit"])

    link_table(columns, rows, key=key, ids=range(len(rows)), on_open=follow, height=_HEIGHT, caption="Largest effects")


def _indexes(here: Place, circuit: Circuit) -> dict[str, tuple[Artifact, dict[int, str]]]:
    """By hook the index of its dictionary, and the features' names there; nothing of what has not been indexed."""
    of_name = {a.name: a.id for a in here.run.artifacts() if a.kind == "sae"}
    found = {}
    for hook, name in circuit.dictionaries.items():
        for artifact in here.run.artifacts():
            if artifact.kind == "features" and of_name.get(name) in artifact.manifest.inputs.values():
                table = serve.index(artifact).table
                found[hook] = artifact, dict(zip(table["feature"].tolist(), table["name"].tolist(), strict=True))
    return found


def _nodes_kept(told: Told) -> None:
    """The largest latents beside the largest neurons, each beside as many random ones."""
    if told.value.feature_faithfulness is None:
        return
    table = told.at("feature_faithfulness")
    words = "Share of the metric by number of latents, and of neurons, that are kept, beside as many random ones"
    draw(table.into(faithfulness), table, name="circuit-nodes", alt=words)
    st.caption("All others of these hooks are ablated. Grey: as many random ones.")


def _beside(effect: float, random: float, largest: float, carries: float) -> tuple[Cell, Cell]:
    """An effect, and in grey what stands beside it, bars to one scale: blue as in the graph what carries the answer."""
    control = Cell(signed(random, 3), bar=abs(random) / max(largest, 1e-12), hue="muted")
    return signed_cell(signed(effect, 3), carries, largest), control


def _share(value: float) -> str:
    """Two digits, and no minus before nothing."""
    return number(round(value, 2) + 0.0)
