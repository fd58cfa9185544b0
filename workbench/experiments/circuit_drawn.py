"""A circuit as `figures.circuit_graph` draws it: few nodes, short names, where they stand, and one control beside."""

from collections.abc import Sequence

import pandas as pd

from workbench.experiments.circuit_results import LATENTS, Circuit, node_name, node_names, part_name, read_as, strongest
from workbench.interventions.hook_parts import layer_of

ANSWER = "answer"
AT_RANDOM = "at random"
FEW = 8  # latents of each hook
FREE = ""  # a place of a stage at which no node stands
Stages = list[list[str]]


def drawn_edges(circuit: Circuit) -> tuple[pd.DataFrame, Stages]:
    """The edges that are kept between heads, MLPs, embeddings and output, and those of one random deal.

    Returns:
        `sender`, `receiver`, `score` (what the edge adds to the metric, summed over queries, keys and values), `note`
        (as which of these it is read) and `variant`; and the stages, from the embeddings up.
    """
    assert circuit.edges is not None
    first = circuit.edges["seed"].min()
    parts = []
    for variant, lines in ((circuit.search, circuit.kept), (AT_RANDOM, circuit.edges[circuit.edges["seed"] == first])):
        lines = lines[lines["kept"]]
        ends = {"sender": lines["sender"].map(part_name), "receiver": lines["receiver"].map(part_name)}
        # Attribution tells what is lost, acdc how far off what is left is.
        sign = -1 if circuit.search == "attribution" else 1
        part = pd.DataFrame(ends | {"score": sign * lines["score"], "note": lines["receiver"].map(read_as)})
        parts.append(part.assign(variant=variant))
    found = pd.concat(parts).groupby(["sender", "receiver", "variant"], sort=False, as_index=False)
    table = found.agg(score=("score", "sum"), note=("note", lambda words: ", ".join(filter(None, words))))
    return table, _stages(circuit.edges)


def drawn_features(circuit: Circuit) -> tuple[pd.DataFrame, Stages]:
    """The largest latents and errors of every hook, what they pass on, and what they add to the answer.

    Returns:
        As `drawn_edges`; the control of a latent is a random direction, of what it passes on the same dealt at random.
    """
    assert circuit.features is not None
    table = circuit.features[circuit.features["dictionary"] == LATENTS]
    draw, own = table["seed"].min(), table[table["seed"].isna()]
    chosen = pd.concat([strongest(lines, "effect").head(FEW) for _, lines in own.groupby("hook", sort=False)])
    stages = [node_names(lines) for _, lines in chosen.groupby("hook", sort=False)]
    shown = {name for stage in stages for name in stage}
    parts = []
    for variant, lines in (("latents", own), (AT_RANDOM, table[table["seed"] == draw])):
        part = pd.DataFrame({"sender": node_names(lines), "receiver": ANSWER, "score": -lines["effect"].to_numpy()})
        parts.append(part.assign(variant=variant, note=""))
    if (passed := circuit.feature_edges) is not None:
        for variant, lines in (("latents", passed[passed["seed"].isna()]), (AT_RANDOM, passed[passed["seed"] == draw])):
            ends = {
                end: [node_name(*pair) for pair in zip(lines[f"{way}_hook"], lines[f"{way}_unit"], strict=True)]
                for end, way in (("sender", "from"), ("receiver", "to"))
            }
            parts.append(pd.DataFrame(ends).assign(score=-lines["effect"].to_numpy(), variant=variant, note=""))
    edges = pd.concat(parts, ignore_index=True)
    inside = edges["sender"].isin(shown) & edges["receiver"].isin({*shown, ANSWER})
    return edges[inside].reset_index(drop=True), [*stages, [ANSWER]]


def _stages(edges: pd.DataFrame) -> Stages:
    """Embeddings, then each layer's heads and its MLP, then the output; no three of a line on one vertical."""
    senders = list(dict.fromkeys(edges["sender"]))
    inputs = [part_name(node) for node in senders if layer_of(node) is None]
    layers = sorted({layer for node in senders if (layer := layer_of(node)) is not None})
    heads = {layer: [part_name(n) for n in senders if layer_of(n) == layer and "hook_result" in n] for layer in layers}
    n_heads = max(map(len, heads.values()))
    width = 2 * n_heads + 5
    # Tokens between the heads on the left and the MLPs on the right, so that edges to either pass none of the others.
    stages = [_spread(inputs, width, [2 * n_heads, n_heads - 1][: len(inputs)])]
    for layer in layers:
        # Odd layers stand half a place to the right, so that edges of several layers do not lie on one another.
        columns = [2 * i + layer % 2 for i in range(len(heads[layer]))]
        stages.append(_spread(heads[layer], width, columns))
        if any(layer_of(node) == layer and node.endswith("hook_mlp_out") for node in senders):
            stages.append(_spread([f"MLP {layer}"], width, [width - 1 - 2 * (layer % 2)]))
    return [*stages, _spread(["output"], width, [width // 2])]


def _spread(nodes: Sequence[str], width: int, columns: Sequence[int]) -> list[str]:
    stage = [FREE] * width
    for node, column in zip(nodes, columns, strict=True):
        stage[column] = node
    return stage
