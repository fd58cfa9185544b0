"""The eigenvalues of each fixed point in the complex plane: inside the unit circle modes decay, outside they grow."""

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Complex

from workbench.dynamics.points import FixedPoints
from workbench.figures.palette import NEURONS, RANDOM, RULE, TRAINED, Layers, require_columns

_HUES = {"trained": TRAINED, "untrained": RANDOM}
_SHAPES = {"trained": "circle", "untrained": "cross"}


def spectrum(eigenvalues: pd.DataFrame, *, chosen: int | None = None, size: int = 320) -> Layers:
    """A mark an eigenvalue of the points' Jacobians, with the unit circle; the untrained subject's are crosses.

    Args:
        eigenvalues: tidy, as `eigenvalue_table` makes it: `real`, `imaginary`, `modulus`, `point`, `kind` and `variant`
            (`trained` or `untrained`).
        chosen: a point of the trained subject whose eigenvalues are vermilion, over the others.
        size: width and height, in pixels: a unit is as long one way as the other.

    Raises:
        ValueError: a column is missing.
    """
    columns = ["real", "imaginary", "modulus", "point", "kind", "variant"]
    require_columns(eigenvalues, columns, "spectrum")
    table = eigenvalues[columns]
    present = [name for name in _HUES if name in set(table["variant"])]
    reach = max(1.0, float(np.abs(table[["real", "imaginary"]].to_numpy()).max(initial=0.0))) * 1.06
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    x = alt.X("real:Q", title="real part of λ", scale=scale, axis=alt.Axis(grid=False, tickCount=5))
    y = alt.Y("imaginary:Q", title="imaginary part of λ", scale=scale, axis=alt.Axis(grid=False, tickCount=5))
    angles = np.linspace(0, 2 * np.pi, 181)
    circle = pd.DataFrame({"real": np.cos(angles), "imaginary": np.sin(angles), "order": angles})
    legend = alt.Legend(orient="top", direction="horizontal", title=None, symbolOpacity=1)
    tooltip = [
        alt.Tooltip("variant:N", title="subject"),
        alt.Tooltip("point:Q", format="d"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("real:Q", format=".4f"),
        alt.Tooltip("imaginary:Q", format=".4f"),
        alt.Tooltip("modulus:Q", format=".4f", title="|λ|"),
    ]
    faint = 0.7 if chosen is None else 0.35
    signs = {
        "color": alt.Color(
            "variant:N",
            title=None,
            scale=alt.Scale(domain=present, range=[_HUES[name] for name in present]),
            legend=legend,
        ),
        "shape": alt.Shape(
            "variant:N",
            title=None,
            scale=alt.Scale(domain=present, range=[_SHAPES[name] for name in present]),
            legend=legend,
        ),
    }
    own = table[(table["point"] == chosen) & (table["variant"] == "trained")]
    return alt.layer(
        alt.Chart(circle)
        .mark_line(color=RULE, strokeWidth=1.2, strokeDash=[4, 3], tooltip=None)
        .encode(x=x, y=y, order="order:Q"),
        alt.Chart(table).mark_point(filled=True, size=26, opacity=faint).encode(x=x, y=y, tooltip=tooltip, **signs),
        alt.Chart(own)
        .mark_point(filled=True, shape="diamond", size=60, color=NEURONS, opacity=1)
        .encode(x=x, y=y, tooltip=tooltip),
    ).properties(width=size, height=size)


def eigenvalue_table(
    eigenvalues: Complex[np.ndarray, "point mode"], kinds: list[str], variant: str = "trained"
) -> pd.DataFrame:
    """What `spectrum` takes, of one subject's points."""
    n_points, n_modes = eigenvalues.shape
    flat = eigenvalues.ravel()
    return pd.DataFrame(
        {
            "real": flat.real,
            "imaginary": flat.imag,
            "modulus": np.abs(flat),
            "point": np.repeat(np.arange(n_points), n_modes),
            "kind": np.repeat(np.array(kinds, dtype=object), n_modes),
            "variant": variant,
        }
    )


def slowest_eigenvalues(trained: FixedPoints, untrained: FixedPoints | None = None, most: int = 60) -> pd.DataFrame:
    """What `spectrum` takes, of the slowest points of a subject, and of it before its training where that was kept."""
    both = [("trained", trained), ("untrained", untrained)]
    return pd.concat(
        [eigenvalue_table(of.eigenvalues[:most].numpy(), of.kind[:most], name) for name, of in both if of is not None],
        ignore_index=True,
    )
