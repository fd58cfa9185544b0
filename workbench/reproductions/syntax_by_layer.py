"""Which syntax is read better from deeper layers than from the embedding, and how much of that training has brought."""

import pandas as pd

from workbench.probing import probe_sweep
from workbench.reproductions.base import Bench, Row
from workbench.reproductions.python_source import python_source
from workbench.reproductions.syntax_recording import recordings

TITLE = "Syntax is read from deeper layers, not from the embedding"
PAPER = "Tenney, Das & Pavlick 2019 (arXiv 1905.05950); Liu et al. 2019 (arXiv 1903.08855)"

EMBEDDING, LAST = "blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"
STREAM = (EMBEDDING, "blocks.0.hook_resid_mid", "blocks.0.hook_resid_post", "blocks.1.hook_resid_mid", LAST)
NEURONS = ("blocks.0.mlp.hook_post", "blocks.1.mlp.hook_post")
LABELS = (
    "inside_comment",
    "inside_docstring",
    "inside_string",
    "inside_condition",
    "inside_assignment_target",
    "inside_call_arguments",
    "inside_parameters",
    "inside_subscript",
    "statement_start",
    "continuation_line",
    "inside_function",
    "inside_class",
)
METRIC = "balanced_accuracy"
SHARE = 0.5


def reproduce(bench: Bench) -> list[Row]:
    """A linear probe of each label at each place of the stream, trained and with random weights."""
    stores = recordings(bench, python_source(bench), [*STREAM, *NEURONS])
    found = probe_sweep(
        stores.trained, labels=LABELS, untrained=stores.untrained, max_rows=len(stores.trained), code_length=False
    )
    bench.table("probes", found)
    gains = gains_of(found)
    bench.table("gains", gains)
    return rows_of(found, gains)


def gains_of(found: pd.DataFrame, metric: str = METRIC) -> pd.DataFrame:
    """A row a label and hook: the probe's score, and by how much it is above each thing that it is held against.

    Returns:
        `label`, `hook`, `score` with `low` and `high` (95% over documents); and of the probe of the embedding, of the
        random subject at the same hook and of the type alone, `NAME` and `NAME_high`; `above_all` is whether the
        interval lies above all three of theirs.
    """
    keys = ["label", "hook"]
    columns = {metric: "score", f"{metric}_low": "low", f"{metric}_high": "high"}
    by_variant = {
        variant: part.set_index(keys)[list(columns)].rename(columns=columns)
        for variant, part in found.groupby("variant")
    }
    gains = by_variant["probe"].copy()
    at_embedding = by_variant["probe"].xs(EMBEDDING, level="hook").reindex(gains.index, level="label")
    beside = {"embedding": at_embedding, "random": by_variant["random subject"], "type": by_variant["type alone"]}
    for name, other in beside.items():
        gains[name], gains[f"{name}_high"] = other["score"], other["high"]
    gains["above_all"] = (gains["low"] > gains[[f"{name}_high" for name in beside]].max(axis=1)).astype(bool)
    return gains.reset_index()


def rows_of(found: pd.DataFrame, gains: pd.DataFrame) -> list[Row]:
    """The table: how many labels, how much in the middle, and each label along the stream."""
    last = gains[gains["hook"] == LAST].set_index("label")
    share = last["above_all"].mean()
    n = int(found.loc[found["variant"] == "probe", "held_out_rows"].iloc[0])
    beyond = ", ".join(
        f"{name} {(last['score'] - last[column]).median():.3f}"
        for name, column in (("the embedding", "embedding"), ("random weights", "random"), ("the type alone", "type"))
    )
    best = gains[gains["hook"].isin(STREAM)].sort_values("score").groupby("label").tail(1)["hook"].value_counts()
    neurons = gains[gains["hook"] == NEURONS[1]].set_index("label")
    rows = [
        Row(
            f"labels of {len(last)} read better from the last stream than from the embedding, random weights and type, "
            f"intervals over documents apart; {n:,} rows judged",
            "syntax is in deeper layers",
            f"{share:.2f}",
            f"≥ {SHARE}",
            bool(share >= SHARE),
        ),
        Row("balanced accuracy there above each, median of labels", "", beyond),
        Row(
            "where in the stream labels are read best",
            "middle layers",
            ", ".join(f"{_short(hook)} {best.get(hook, 0)}" for hook in STREAM),
        ),
        Row(
            "balanced accuracy of the last layer's neurons above the last stream's, median of labels",
            "",
            f"{(neurons['score'] - last['score']).median():.3f}",
        ),
    ]
    for label in LABELS:
        part = gains[gains["label"] == label].set_index("hook")
        along = " → ".join(f"{part.loc[hook, 'score']:.3f}" for hook in STREAM)
        end = part.loc[LAST]
        rows.append(
            Row(
                f"{label}: balanced accuracy along the stream",
                "",
                f"{along} ({end['low']:.3f} to {end['high']:.3f}); random {end['random']:.3f}, type {end['type']:.3f}",
            )
        )
    return rows


def _short(hook: str) -> str:
    return "embedding" if hook == EMBEDDING else hook.removeprefix("blocks.").replace("hook_", "")
