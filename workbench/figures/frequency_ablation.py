"""What is left of modular addition when frequencies are taken out of the network, beside random directions."""

import altair as alt
import pandas as pd

from workbench.figures.palette import CATEGORIES, NEURONS, PCA, RANDOM, RULE, TRAINED, Layers, require_columns

_HUES = {
    "nothing": PCA,
    "key frequencies": NEURONS,
    "all but key frequencies": TRAINED,
    "everything": CATEGORIES[3],
    "other frequencies": RANDOM,
    "random directions": RANDOM,
    "all but random directions": RANDOM,
}
_SHAPES = {
    "nothing": "triangle-up",
    "key frequencies": "diamond",
    "all but key frequencies": "circle",
    "everything": "triangle-down",
    "other frequencies": "cross",
    "random directions": "square",
    "all but random directions": "stroke",
}
_LEAST = 1e-8  # nats: what is smaller is drawn here
_ROW = 26  # pixels an ablation


def frequency_ablation(ablations: pd.DataFrame) -> Layers:
    """A row for each site and what is ablated there: the held-out loss, on a scale of powers of ten, a mark a draw.

    Args:
        ablations: `site`, `ablated`, `test_loss` (nats), `subject`, `stage` and `p`; the trained subjects of the
            smallest p are drawn, and the dashed rule is what saying every number alike costs them.

    Raises:
        ValueError: a column is missing.
    """
    require_columns(ablations, ["site", "ablated", "test_loss", "subject", "stage", "p"], "frequency_ablation")
    shown = ablations[(ablations["stage"] == "trained") & (ablations["p"] == ablations["p"].min())]
    table = shown[["site", "ablated", "subject", "test_loss"]].assign(drawn=shown["test_loss"].clip(lower=_LEAST))
    present = [name for name in _HUES if name in set(table["ablated"])]
    table["row"] = table["site"] + ": " + table["ablated"]
    rows = [f"{site}: {name}" for site in table["site"].unique() for name in present]
    axis = alt.Axis(format=".0e", tickCount=6)
    x = alt.X("drawn:Q", title="held-out loss, nats", scale=alt.Scale(type="log"), axis=axis)
    marks = alt.Chart(table).mark_point(filled=True, size=60, opacity=0.85)
    chance = alt.Chart(pd.DataFrame({"p": [int(shown["p"].min())]})).transform_calculate(drawn="log(datum.p)")
    return alt.layer(
        chance.mark_rule(color=RULE, strokeDash=[4, 3], tooltip=None).encode(x=x),
        marks.encode(
            x=x,
            y=alt.Y("row:N", title=None, sort=rows, axis=alt.Axis(labelLimit=260, ticks=False, domain=False)),
            color=alt.Color(
                "ablated:N",
                sort=present,
                legend=None,
                scale=alt.Scale(domain=present, range=[_HUES[name] for name in present]),
            ),
            shape=alt.Shape(
                "ablated:N",
                sort=present,
                legend=None,
                scale=alt.Scale(domain=present, range=[_SHAPES[name] for name in present]),
            ),
            tooltip=[
                alt.Tooltip("site:N"),
                alt.Tooltip("ablated:N"),
                alt.Tooltip("subject:N"),
                alt.Tooltip("test_loss:Q", title="held-out loss, nats", format=".2e"),
            ],
        ),
    ).properties(height=_ROW * len(rows))
