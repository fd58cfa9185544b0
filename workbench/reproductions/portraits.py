"""The portrait of a reproduction's subject, beside the same before its training."""

import altair as alt
import pandas as pd

from workbench.figures import state_portrait

# Sequences that a portrait shows; its axes.
SHOWN, N_AXES = 16, 3
_WIDTH, _HEIGHT = 300, 320


def beside_untrained(portrait: pd.DataFrame, points: pd.DataFrame, label: str) -> alt.HConcatChart:
    """The first seed's states and points, trained and untrained, each in its own axes.

    Args:
        portrait: as `dynamics.portrait_with_points` makes it, with `seed` and `stage`.
        points: facts of each point, as `FixedPoints.table` gives them, with `seed` and `stage`.
        label: the column that colours the states.
    """
    first = portrait["seed"].min()
    charts = []
    for stage in ("trained", "untrained"):
        drawn, facts = (table[(table["seed"] == first) & (table["stage"] == stage)] for table in (portrait, points))
        chart = state_portrait(drawn, facts, label=label, height=_HEIGHT)
        points_found = f"{len(facts):,} point{'s' * (len(facts) != 1)}"
        charts.append(chart.properties(width=_WIDTH, title=f"{stage}: {points_found}"))
    return alt.hconcat(*charts).resolve_scale(fill="independent", shape="independent", stroke="independent")
