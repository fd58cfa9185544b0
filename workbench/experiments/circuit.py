"""All that `workbench circuit` asks of pairs of prompts, part by part: a killed one goes on from the next part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from models.table_files import kept_table
from models.transformer import Transformer
from workbench.circuits import Graph
from workbench.experiments.circuit_features import edge_table, node_table, size_table
from workbench.experiments.circuit_results import (
    FAITHFULNESS,
    FEATURE_EDGES,
    FEATURE_FAITHFULNESS,
    FEATURES,
    PATHS,
    RESULT,
)
from workbench.experiments.circuit_search import (
    CircuitSettings,
    chosen_paths,
    faithfulness_by_size,
    patch_paths,
    search_edges,
)
from workbench.experiments.ends import both_ends
from workbench.experiments.prompts import Prompts
from workbench.interventions.metrics import restored
from workbench.sae import SAE


def find_circuit(
    model: Any,
    prompts: Prompts,
    saes: Mapping[str, SAE],
    folder: Path,
    settings: CircuitSettings,
) -> dict[str, Any]:
    """Search for the edges that the prompts' answers go through, and for the latents; write all of it down.

    Args:
        model: the subject. One that is no decoder-only transformer has no graph of edges, and latents alone are looked
            at.
        prompts: the pairs.
        saes: dictionaries by hook; none where no latents are asked for.
        folder: where; parts that lie there are not made again.
        settings: how.

    Returns:
        The mean metric of `clean` and `corrupt` prompts, how many `pairs` there are, how many `edges` the subject has
        and how many are `kept` (None where it has no graph), and which `tables` were made.

    Raises:
        ValueError: as `has_graph`, and as the functions that it calls.
    """
    of_edges = has_graph(model, saes)
    values = both_ends(model, prompts, settings.batch_size)
    restored(values[1], *values)  # before any long work: whether there is a gap
    clean, corrupt = (float(each.mean()) for each in values)
    told: dict[str, Any] = {"clean": clean, "corrupt": corrupt, "pairs": len(prompts), "edges": None, "kept": None}
    tables = []
    if of_edges:
        kept_table(folder / RESULT, lambda: search_edges(model, prompts, settings, clean - corrupt))
        edges = pd.read_parquet(folder / RESULT)
        told |= {"edges": len(Graph.of(model).edges), "kept": int((edges["kept"] & edges["seed"].isna()).sum())}
        kept_table(folder / FAITHFULNESS, lambda: faithfulness_by_size(model, prompts, edges, settings))
        tables += [RESULT, FAITHFULNESS]
        if paths := chosen_paths(model, edges, settings.n_paths):
            kept_table(folder / PATHS, lambda: patch_paths(model, prompts, paths, settings))
            tables.append(PATHS)
    if saes:
        kept_table(folder / FEATURES, lambda: node_table(model, prompts, saes, settings))
        nodes = pd.read_parquet(folder / FEATURES)
        if len(saes) > 1:
            kept_table(folder / FEATURE_EDGES, lambda: edge_table(model, prompts, saes, nodes, settings))
            tables.append(FEATURE_EDGES)
        kept_table(folder / FEATURE_FAITHFULNESS, lambda: size_table(model, prompts, saes, nodes, settings))
        tables += [FEATURES, FEATURE_FAITHFULNESS]
    return told | {"tables": tables}


def has_graph(model: Any, saes: Mapping[str, SAE]) -> bool:
    """Whether a subject has a graph of edges. `ValueError` where it has none, and no dictionary is given either."""
    if isinstance(model, Transformer):
        return True
    if not saes:
        raise ValueError(
            f"a {type(model).__name__} has no graph of edges: a circuit is of a decoder-only transformer, or, with "
            "--features, of the latents of this run's dictionaries."
        )
    return False
