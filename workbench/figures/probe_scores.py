"""What the figures of probes have in common: the scores, what they are called, and why one is not there."""

from typing import Literal

import pandas as pd

from workbench.figures.palette import PROBE_VARIANTS

Score = Literal["balanced_accuracy", "accuracy", "f1", "auroc", "selectivity", "compression"]
SCORES: dict[Score, str] = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "f1": "F1",
    "auroc": "AUROC",
    "selectivity": "selectivity",
    "compression": "compression",
}


def measured(results: pd.DataFrame, score: Score) -> list[str]:
    """The variants that have this score anywhere, in their fixed order."""
    there = set(results.loc[results[score].notna(), "variant"]) if score in results else set()
    return [name for name in PROBE_VARIANTS if name in there]


def reasons(lines: pd.DataFrame, score: Score) -> pd.Series:
    """Of each line why it has no such score, or what to mind about it; empty where there is nothing to say."""
    missing = lines[score].isna() & (lines["note"].fillna("") == "")
    why = f"{SCORES[score]} was not measured here"
    if score == "auroc":
        why = "AUROC is of two classes and of what ranks rows"
    return lines["note"].fillna("").where(~missing, why)


def interval(lines: pd.DataFrame, score: Score) -> pd.Series:
    """Of each line the interval in words; empty where there is none."""
    if f"{score}_low" not in lines:
        return pd.Series("", index=lines.index)
    return pd.Series(
        [
            "" if pd.isna(low) else f"{low:.3f} to {high:.3f}"
            for low, high in zip(lines[f"{score}_low"], lines[f"{score}_high"], strict=True)
        ],
        index=lines.index,
        dtype=object,
    )
