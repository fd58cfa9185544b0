"""What the figures of dynamics have in common: a sign for each kind of fixed point."""

import altair as alt

from workbench.figures.palette import NEURONS

# Full where every mode decays, open where some grow, a cross where it is no fixed point.
SHAPES = {"stable": "circle", "marginal": "square", "saddle": "circle", "unstable": "triangle-up", "slow": "cross"}
FILLS = {
    "stable": NEURONS,
    "marginal": NEURONS,
    "saddle": "rgba(0,0,0,0)",
    "unstable": "rgba(0,0,0,0)",
    "slow": NEURONS,
}


def kind_signs(kinds: list[str], legend: alt.Legend | None) -> dict[str, alt.Shape | alt.Fill | alt.Stroke]:
    """The encodings `shape`, `fill` and `stroke` of a column `kind`, of those that are present, in a fixed order."""
    present = [kind for kind in SHAPES if kind in kinds]
    shape = alt.Scale(domain=present, range=[SHAPES[kind] for kind in present])
    fill = alt.Scale(domain=present, range=[FILLS[kind] for kind in present])
    stroke = alt.Scale(domain=present, range=[NEURONS] * len(present))
    return {
        "shape": alt.Shape("kind:N", scale=shape, sort=present, title=None, legend=legend),
        "fill": alt.Fill("kind:N", scale=fill, sort=present, title=None, legend=legend),
        "stroke": alt.Stroke("kind:N", scale=stroke, sort=present, title=None, legend=legend),
    }
