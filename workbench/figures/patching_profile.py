"""How an effect moves through the layers: from where the prompts differ to where the answer is asked."""

import altair as alt
import pandas as pd

from workbench.experiments.patching_results import PLACES
from workbench.figures.hook_names import short_hooks
from workbench.figures.palette import NEURONS, PCA, RULE, TRAINED, Layers, require_columns

_HUES = dict(zip(PLACES, (TRAINED, PCA, NEURONS), strict=True))
_SHAPES = dict(zip(PLACES, ("circle", "triangle-up", "diamond"), strict=True))


def patching_profile(profile: pd.DataFrame, title: str = "share of the effect restored") -> Layers:
    """A line a place, from layer to layer; dashed, the same displacement along random directions.

    Args:
        profile: `stage` (in the order of the subject), `place` (one of `PLACES`), `variant` and `effect`; what is no
            control has the variant that comes first.
        title: what the effect is.

    Raises:
        ValueError: a column is missing, or a place is unknown.
    """
    require_columns(profile, ["stage", "place", "variant", "effect"], "patching_profile")
    if other := sorted(set(profile["place"]) - set(PLACES)):
        raise ValueError(f"patching_profile knows no place {other[0]!r}: there are {', '.join(PLACES)}.")
    table = profile.groupby(["stage", "place", "variant"], sort=False, as_index=False)["effect"].mean()
    stages, variants = table["stage"].unique().tolist(), table["variant"].unique().tolist()
    present = [place for place in PLACES if place in set(table["place"])]
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1)
    below = alt.Legend(orient="bottom", direction="horizontal", title=None)
    x = alt.X("stage:N", title=None, sort=stages, axis=alt.Axis(labelAngle=-30, labelLimit=150))
    y = alt.Y("effect:Q", title=title)
    colour = alt.Color(
        "place:N", scale=alt.Scale(domain=present, range=[_HUES[p] for p in present]), sort=present, legend=legend
    )
    dash = alt.StrokeDash(
        "variant:N", sort=variants, scale=alt.Scale(domain=variants, range=[[1, 0], [4, 3], [1, 2]]), legend=below
    )
    tooltip = [
        alt.Tooltip("stage:N", title="hook"),
        alt.Tooltip("place:N"),
        alt.Tooltip("variant:N"),
        alt.Tooltip("effect:Q", format="+.3f"),
    ]
    zero = alt.Chart(pd.DataFrame({"effect": [0.0]})).mark_rule(color=RULE, strokeWidth=1, tooltip=None).encode(y=y)
    base = alt.Chart(table)
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=46, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=alt.Shape(
            "place:N", scale=alt.Scale(domain=present, range=[_SHAPES[p] for p in present]), sort=present, legend=legend
        ),
        tooltip=tooltip,
    )
    return alt.layer(zero, lines, points).properties(height=310)


def staged(profile: pd.DataFrame) -> pd.DataFrame:
    """What `patching_profile` takes, of a profile by `hook`."""
    return profile.assign(stage=profile["hook"].map(short_hooks(profile["hook"].unique().tolist())))
