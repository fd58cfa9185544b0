"""Which latents of a run's dictionaries a behaviour goes through, beside random directions, nodes and neurons."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from workbench.circuits import Neurons, feature_circuit, feature_edges, feature_faithfulness
from workbench.circuits.feature_nodes import Dictionary
from workbench.experiments.circuit_results import LATENTS, NEURONS
from workbench.experiments.circuit_search import CircuitSettings
from workbench.experiments.prompts import Prompts
from workbench.sae import SAE

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
AT_ONCE = 16  # prompts whose latents are all held at once, with their slopes
PASSED_ON = 8  # nodes of each hook between which edges are measured


def both(dictionaries: Mapping[str, SAE]) -> dict[str, dict[str, Dictionary]]:
    """The dictionaries by hook, and neurons in the place of each."""
    neurons: dict[str, Dictionary] = {hook: Neurons(sae.W_dec.shape[1]) for hook, sae in dictionaries.items()}
    return {LATENTS: dict(dictionaries), NEURONS: neurons}


def node_table(model: Any, prompts: Prompts, saes: Mapping[str, SAE], settings: CircuitSettings) -> pd.DataFrame:
    """`feature_circuit` of latents and of neurons, in the column `dictionary`."""
    how = _how(prompts, settings) | {"steps": settings.steps, "batch_size": min(settings.batch_size, AT_ONCE)}
    found = [
        feature_circuit(model, prompts.clean, dictionaries=chosen, **how).assign(dictionary=name)
        for name, chosen in both(saes).items()
    ]
    return pd.concat(found, ignore_index=True)


def edge_table(
    model: Any, prompts: Prompts, saes: Mapping[str, SAE], nodes: pd.DataFrame, settings: CircuitSettings
) -> pd.DataFrame:
    """`feature_edges` between the largest latents and errors of several hooks."""
    own = nodes[nodes["dictionary"] == LATENTS]
    how = _how(prompts, settings) | {"most": PASSED_ON, "batch_size": min(settings.batch_size, AT_ONCE)}
    return feature_edges(model, prompts.clean, dictionaries=dict(saes), nodes=own, **how)


def size_table(
    model: Any, prompts: Prompts, saes: Mapping[str, SAE], nodes: pd.DataFrame, settings: CircuitSettings
) -> pd.DataFrame:
    """`feature_faithfulness` of latents and of neurons by how many are kept: errors as nodes, or kept whatever."""
    how = _how(prompts, settings)
    found = []
    for name, chosen in both(saes).items():
        own = nodes[nodes["dictionary"] == name]
        # Neurons leave nothing out: their errors are zero.
        for keep_errors in (False, True) if name == LATENTS else (False,):
            there = own[own["seed"].isna() & ~(keep_errors & (own["kind"] == "error"))]
            sizes = [size for size in SIZES if size < len(there)] + [len(there)]
            part = feature_faithfulness(
                model, prompts.clean, dictionaries=chosen, nodes=own, sizes=sizes, keep_errors=keep_errors, **how
            )
            found.append(part.assign(dictionary=name))
    return pd.concat(found, ignore_index=True)


def _how(prompts: Prompts, settings: CircuitSettings) -> dict[str, Any]:
    corrupt = None if settings.ablation == "zero" else prompts.corrupt
    return {"corrupt": corrupt, "metric": prompts.metric, "ablation": settings.ablation, **settings.keywords}
