"""The directions of a table's probes at one hook, each fitted again."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from probes.report import PROBE
from workbench.activations import ActivationStore
from workbench.features.columns import ProbeDirection
from workbench.probing.results import MEASURE
from workbench.probing.table_probes import linear_lines, refit


def table_directions(
    table: pd.DataFrame, config: Mapping[str, Any], store: ActivationStore, hook: str
) -> list[ProbeDirection]:
    """One direction for each label of two classes, and of more one for each class, from all others to it.

    A direction reads as its probe does. It writes along the pattern (`Subspace.along_pattern`), as rows differ where
    the read-out does. Labels that could not be probed are left out.

    Args:
        table: of probes, as `read_results` gives it; its first linear estimator is taken.
        config: of its manifest.
        store: the recording that it was made from.
        hook: which was probed.

    Raises:
        ValueError: no probe is linear, positions were probed apart, or nothing was probed at the hook.
    """
    lines = linear_lines(table, config)
    here = lines[(lines["hook"] == hook) & (lines["variant"] == PROBE) & lines[MEASURE].notna()]
    labels = list(dict.fromkeys(here["label"]))
    if not labels:
        raise ValueError(f"no label could be probed at {hook}: choose another hook.")
    refitted = refit(store, config, str(lines["probe"].iloc[0]), hook, labels)
    found = []
    for label in labels:
        classes = refitted.classes(label)
        two = len(classes) == 2
        names = [_name_of_two(label, classes[1])] if two else [f"{label}={name}" for name in classes]
        for target, name in enumerate(names):
            subspace = refitted.subspace(label, None if two else target)
            read, write = subspace.read[0], subspace.write[0]
            found.append(ProbeDirection(name, read, float(subspace.intercept), write))
    return found


def _name_of_two(label: str, yes: Any) -> str:
    """Where the probe says yes: the label itself where that is true or false."""
    return label if yes in (1, True) else f"{label}={yes}"
