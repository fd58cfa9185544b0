"""Which features of an index to read first: those that beat their rival by most, of each kind of name in turn."""

import numpy as np
import pandas as pd

SYNTAX, UNNAMED = "syntax", "none"  # kinds of a feature's name


def rival_of(table: pd.DataFrame) -> str:
    """The column of an index's table with the F1 of what a feature is held against: the best single neuron.

    No neuron stands beside units, which are neurons: they are held against the best random direction.
    """
    return "random_f1" if "random_f1" in table else "neuron_f1"


def gain_of(table: pd.DataFrame) -> pd.Series:
    """F1 of each feature of an index's table less that of its rival."""
    return table["f1"] - table[rival_of(table)]


def sure_gain_of(table: pd.DataFrame) -> pd.Series:
    """The lower end of each feature's F1 less that of its rival: little where a name rests on few tokens."""
    return table["f1_low"] - table[rival_of(table)]


def most_telling(table: pd.DataFrame) -> pd.Series:
    """The place of each feature in the order of the most telling, from 0.

    Of the features with a statement of the labels for a name and those with a set of tokens in turn, the one with the
    largest sure gain is next: sets of tokens are told easily, and would leave no room for the rest. Then come those
    without a name, and last those that never fire.

    Args:
        table: of an index. A missing F1 is the smallest.
    """
    order = pd.DataFrame(
        {
            "dead": table["dead"].astype(bool),
            "unnamed": table["kind"] == UNNAMED,
            "kind": table["kind"],
            "tokens": table["kind"] != SYNTAX,
            "loss": -sure_gain_of(table).fillna(-np.inf),
        }
    ).sort_values("loss", kind="stable")
    order["round"] = order.groupby(["dead", "kind"]).cumcount().where(~order["unnamed"], 0)
    order = order.sort_values(["dead", "unnamed", "round", "tokens", "loss"], kind="stable")
    return pd.Series(np.arange(len(order)), index=order.index).reindex(table.index)
