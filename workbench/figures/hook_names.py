"""Hooks and heads as axes name them."""

from collections.abc import Sequence

import pandas as pd


def short_hooks(hooks: Sequence[str]) -> dict[str, str]:
    """Names without what all of them say, `blocks.` and `hook_`, where that leaves them apart."""
    short = {hook: hook.replace("hook_", "").removeprefix("blocks.") for hook in hooks}
    return short if len(set(short.values())) == len(short) else {hook: hook for hook in hooks}


def head_names(table: pd.DataFrame, layer: str = "layer", head: str = "head") -> pd.Series:
    """Of each line its head as `layer.head`."""
    return table[layer].astype(int).astype(str) + "." + table[head].astype(int).astype(str)
