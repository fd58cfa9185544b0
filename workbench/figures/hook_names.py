"""Hooks and heads as axes name them."""

from collections.abc import Sequence

import pandas as pd


def short_hooks(hooks: Sequence[str]) -> dict[str, str]:
    """Names without what all of them say, `blocks.` and `hook_`, where that leaves them apart."""
    short = {hook: hook.replace("hook_", "").removeprefix("blocks.") for hook in hooks}
    return short if len(set(short.values())) == len(short) else {hook: hook for hook in hooks}


def head_names(table: pd.DataFrame, layer: str = "layer", head: str = "head") -> pd.Series:
    """Of each line its head as `layer.head`; with its hook before it where heads of one number are at several hooks."""
    number = table[head].astype(int).astype(str)
    stems = layer_names(table) if layer == "layer" and "hook" in table else table[layer].astype(int).astype(str)
    return stems + "." + number


def layer_names(table: pd.DataFrame) -> pd.Series:
    """Of each line its layer's number, or its hook without `hook_…` where one number is of several attentions."""
    layers = table["layer"]
    if "hook" not in table or (layers.notna().all() and table.groupby("layer")["hook"].nunique().eq(1).all()):
        return layers.astype(int).astype(str)
    return table["hook"].str.replace(r"\.hook_\w+$", "", regex=True)
