"""Cells that say something: how well the best unit tells each label, beside chance and an untrained subject."""

import altair as alt
import pandas as pd

from workbench.figures.palette import RANDOM, RULE, TRAINED, Layers, require_columns

_HUES = {"unit": TRAINED, "untrained": RANDOM, "labels moved": "#a9713a"}
_SHAPES = {"unit": "circle", "untrained": "cross", "labels moved": "triangle-up"}
_CHANCE = {"auroc": 0.5, "spearman": 0.0}
_STEP = 22  # pixels a label


def unit_scores(scores: pd.DataFrame, chosen: str | None = None) -> Layers:
    """A row a label, the best told first: how far its unit's score is from chance, as a share of the way to perfect.

    So units of AUROC 1 and 0 both stand at 1, as do units that rise and that fall with a number.

    Args:
        scores: the chosen unit of each label, as `workbench dynamics` finds it: `label`, `measure` (`auroc` or
            `spearman`), `unit`, `held_out`, `shuffled` (the mean of labels moved along) and `variant` (`trained` or
            `untrained`).
        chosen: a label that is framed.

    Raises:
        ValueError: a column is missing, or some label and variant has two lines.
    """
    require_columns(scores, ["label", "measure", "unit", "held_out", "shuffled", "variant"], "unit_scores")
    if scores.duplicated(["label", "variant"]).any():
        raise ValueError("unit_scores needs one line of every label and variant: keep the units that were chosen.")
    own, before = (scores[scores["variant"] == name] for name in ("trained", "untrained"))
    table = pd.concat(
        [
            _marks(own, "held_out", "unit"),
            _marks(before, "held_out", "untrained"),
            _marks(own, "shuffled", "labels moved"),
        ],
        ignore_index=True,
    )
    order = table[table["of"] == "unit"].sort_values("apart", ascending=False, kind="stable")["label"].tolist()
    present = [name for name in _HUES if name in set(table["of"])]
    legend = alt.Legend(orient="top", direction="horizontal", title=None)
    base = alt.Chart(table)
    y = alt.Y(
        "label:N",
        title=None,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labelLimit=170, labelOverlap=False, ticks=False, domain=False, grid=True, gridOpacity=0.3),
    )
    tooltip = [
        alt.Tooltip("label:N"),
        alt.Tooltip("of:N"),
        alt.Tooltip("unit:Q", format="d"),
        alt.Tooltip("measure:N"),
        alt.Tooltip("score:Q", format=".3f"),
    ]
    marks = base.mark_point(filled=True, size=75, opacity=1).encode(
        x=alt.X(
            "apart:Q",
            title="how far from chance (0) to perfect (1)",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(tickCount=5),
        ),
        y=y,
        color=alt.Color(
            "of:N",
            scale=alt.Scale(domain=present, range=[_HUES[n] for n in present]),
            sort=present,
            title=None,
            legend=legend,
        ),
        shape=alt.Shape(
            "of:N",
            scale=alt.Scale(domain=present, range=[_SHAPES[n] for n in present]),
            sort=present,
            title=None,
            legend=legend,
        ),
        tooltip=tooltip,
    )
    framed = alt.Chart(pd.DataFrame({"label": [name for name in order if name == chosen]}))
    frame = framed.mark_rect(fillOpacity=0, stroke=RULE, strokeWidth=1.5, tooltip=None).encode(y=y)
    return alt.layer(marks, frame).properties(height={"step": _STEP})


def _marks(lines: pd.DataFrame, score: str, of: str) -> pd.DataFrame:
    known = lines[lines[score].notna()]
    chance = known["measure"].map(_CHANCE)
    apart = (known[score] - chance).abs() / (1 - chance)
    kept = known[["label", "measure", "unit"]]
    return kept.assign(score=known[score], apart=apart.clip(upper=1), of=of)
