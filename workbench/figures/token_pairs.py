"""The pairs of tokens that a head's weights put together most, beside a random head's."""

import altair as alt
import pandas as pd

from workbench.figures.palette import RANDOM, TRAINED, Layers, require_columns
from workbench.figures.words import visible

_HEAD = "head"
_LONGEST = 14  # characters of a token on the axis
_ENDS = {"QK": ("query", "key"), "OV": ("looked at", "said")}


def token_pairs(pairs: pd.DataFrame) -> Layers:
    """A bar a pair, the largest first; grey, a tick: a random head's pair of the same rank, the highest of several.

    Args:
        pairs: as `workbench.attention.token_pairs` makes it, of one head and circuit: `circuit`, `variant` (`head` or a
            control's), `rank`, `from_text`, `to_text`, `deviations`.

    Raises:
        ValueError: a column is missing, or there are several heads or circuits.
    """
    require_columns(pairs, ["circuit", "variant", "rank", "from_text", "to_text", "deviations"], "token_pairs")
    own, random = (pairs[(pairs["variant"] == _HEAD) == ours] for ours in (True, False))
    if own["rank"].duplicated().any() or own.empty:
        raise ValueError("token_pairs draws the pairs of one head's one circuit: choose it in the table.")
    chance = random.groupby("rank")["deviations"].max()
    source, target = _ENDS.get(own["circuit"].iloc[0], ("from", "to"))
    words = {end: own[f"{end}_text"].map(lambda text: visible(str(text))) for end in ("from", "to")}
    short = {end: of.map(lambda w: w if len(w) <= _LONGEST else w[: _LONGEST - 1] + "…") for end, of in words.items()}
    table = pd.DataFrame(
        {
            # The rank tells pairs apart that look alike once cut.
            "pair": own["rank"].astype(str) + "  " + short["from"] + " → " + short["to"],
            "from": words["from"],
            "to": words["to"],
            "deviations": own["deviations"],
            "random": own["rank"].map(chance),
        }
    )
    y = alt.Y(
        "pair:N",
        title=None,
        sort=None,
        scale=alt.Scale(domain=table["pair"].tolist()),
        axis=alt.Axis(labelLimit=230, labelOverlap=False, ticks=False, domain=False),
    )
    tooltip = [
        alt.Tooltip("from:N", title=source),
        alt.Tooltip("to:N", title=target),
        alt.Tooltip("deviations:Q", format=".2f"),
        alt.Tooltip("random:Q", format=".2f", title="random head's"),
    ]
    base = alt.Chart(table)
    bars = base.mark_bar(color=TRAINED, height={"band": 0.6}).encode(
        x=alt.X("deviations:Q", title="deviations above the mean of all pairs (grey: random head)"),
        y=y,
        tooltip=tooltip,
    )
    ticks = base.mark_tick(color=RANDOM, thickness=3, size=16).encode(x="random:Q", y=y, tooltip=tooltip)
    return alt.layer(bars, ticks).properties(height=alt.Step(20))
