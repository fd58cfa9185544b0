"""What share of a dictionary's live features a concept explains, beside what chance and geometry give."""

import altair as alt
import pandas as pd

from workbench.figures.palette import DICTIONARIES, Layers, dictionary_colour, require_columns


def naming_fractions(naming: pd.DataFrame, height: int = 200) -> Layers:
    """Grouped bars: share of live features whose best concept reaches a held-out F1 of one half.

    Args:
        naming: tidy, columns `dictionary` (`trained`, `neurons`, `PCA`, `random`), `kind` (`token` for token sets,
            `syntax` for labels) and `share` in [0, 1].
        height: in pixels.
    """
    require_columns(naming, ["dictionary", "kind", "share"], "naming_fractions")
    present = naming["dictionary"].unique().tolist()
    base = alt.Chart(naming.assign(kind=naming["kind"].replace("token", "token set"))).encode(
        x=alt.X(
            "kind:N", title=None, sort=["token set", "syntax"], axis=alt.Axis(labelAngle=0, ticks=False, domain=False)
        ),
        xOffset=alt.XOffset("dictionary:N", sort=list(DICTIONARIES)),
        y=alt.Y(
            "share:Q",
            title="features named at F1 ≥ ½",
            axis=alt.Axis(format=".0%", tickCount=5),
            scale=alt.Scale(domainMin=0),
        ),
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        color=dictionary_colour(present).legend(orient="top", direction="horizontal"),
        tooltip=[
            alt.Tooltip("dictionary:N"),
            alt.Tooltip("kind:N", title="named by"),
            alt.Tooltip("share:Q", format=".1%", title="share at F1 ≥ ½"),
        ],
    )
    labels = base.mark_text(dy=-7, fontSize=10, color="#8b929c").encode(text=alt.Text("share:Q", format=".0%"))
    return alt.layer(bars, labels).properties(height=height)
