"""Which next tokens a feature speaks for, and which it speaks against."""

import altair as alt
import pandas as pd

from workbench.figures.palette import NEURONS, TRAINED, require_columns


def logit_effects(up: pd.DataFrame, down: pd.DataFrame, limit: int = 10) -> alt.Chart:
    """Signed bars of the direct effect on the logits, one row a token; blue raises, vermilion lowers.

    Args:
        up: the most raised tokens, columns `token` and `logit`.
        down: the most lowered tokens, the same columns.
        limit: how many of each.
    """
    for table in (up, down):
        require_columns(table, ["token", "logit"], "logit_effects")
    both = pd.concat([up.head(limit), down.head(limit).iloc[::-1]], ignore_index=True)
    return (
        alt.Chart(both)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            y=alt.Y(
                "token:N",
                sort=both["token"].tolist(),
                title=None,
                axis=alt.Axis(labelFont="monospace", ticks=False, domain=False),
            ),
            x=alt.X("logit:Q", title="direct effect on the logit"),
            color=alt.condition(alt.datum.logit > 0, alt.value(TRAINED), alt.value(NEURONS)),
            tooltip=[alt.Tooltip("token:N"), alt.Tooltip("logit:Q", format="+.3f")],
        )
        .properties(height=alt.Step(17))
    )
