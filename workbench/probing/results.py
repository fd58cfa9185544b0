"""What a table of probes says: its hooks in the order of the subject, and where each label is read best."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from models.artifacts import ArtifactError
from probes.report import MAJORITY, PROBE, TYPE, VARIANTS

RESULT = "result.parquet"
# By what a label's hooks are compared: chance is one over the number of classes, whatever their frequencies.
MEASURE = "balanced_accuracy"
_NEEDED = ("hook", "probe", "positions", "label", "variant", MEASURE, "note")
_BLOCK = re.compile(r"\.(\d+)\.")


def read_results(path: str | Path) -> pd.DataFrame:
    """The table of a `probes` artifact, its hooks in the order of the subject.

    Raises `ArtifactError` where it is no table of probes.
    """
    found = pd.read_parquet(Path(path) / RESULT)
    if missing := [name for name in _NEEDED if name not in found.columns]:
        raise ArtifactError(f"{path} is no table of probes: it lacks {', '.join(missing)}.")
    order = in_layer_order(found["hook"].unique())
    return found.sort_values("hook", key=lambda hooks: hooks.map(order.index), kind="stable", ignore_index=True)


def in_layer_order(hooks: Iterable[str]) -> list[str]:
    """Hooks as a subject runs through them: encoder before decoder, embeddings, blocks by number, and what follows.

    Those of one block stay in the order in which they come.
    """

    def place(hook: str) -> tuple[bool, float]:
        block = _BLOCK.search(hook)
        at = float(block[1]) if block else -1.0 if "embed" in hook else float("inf")
        return not ("encoder" in hook or "source" in hook), at

    return sorted(hooks, key=place)


def best_beyond_word(results: pd.DataFrame) -> pd.DataFrame:
    """Of each label the hook where a probe is furthest above what the word alone tells, in balanced accuracy.

    Where rows have no words it is held against the majority.

    Args:
        results: of one estimator, as `probe_sweep` makes them.

    Returns:
        A line a label, the furthest first, those that could not be probed last: `label`; `hook`; a column for each
        variant; `low` and `high`, the probe's interval; `beyond`; `than`, what it is held against; and `p_value`,
        `selectivity`, `classes` and `note` of the probe's line.
    """
    wide = results.pivot_table(index=["label", "hook"], columns="variant", values=MEASURE, sort=False, dropna=False)
    wide = wide.reindex(columns=list(VARIANTS))
    known = wide[TYPE].notna()
    wide["than"] = known.map({True: TYPE, False: MAJORITY})
    wide["beyond"] = wide[PROBE] - wide[TYPE].where(known, wide[MAJORITY])
    own = results[results["variant"] == PROBE].set_index(["label", "hook"])
    kept = ["p_value", "selectivity", "classes", "note"]
    own = own[[f"{MEASURE}_low", f"{MEASURE}_high", *kept]].set_axis(["low", "high", *kept], axis=1)
    ordered = wide.join(own).sort_values("beyond", ascending=False, kind="stable", na_position="last")
    return ordered.groupby(level="label", sort=False).head(1).reset_index()
