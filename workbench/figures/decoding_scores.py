"""How well each decoder reads one output, and what every control reaches there."""

from typing import Any, Literal

import altair as alt
import pandas as pd

from workbench.figures.palette import DECODER_VARIANTS, RULE, Layers, require_columns

Measure = Literal["r2", "rho", "error"]
MEASURES: dict[Measure, str] = {"r2": "R²", "rho": "ρ", "error": "error"}
_SHAPES = ["circle", "cross", "triangle-up", "square"]
_STEP = 15  # pixels a mark
WORST = -1.0  # an R² below it stands at it: how far below says nothing more


def decoding_scores(results: pd.DataFrame, score: Measure = "r2", *, interval: str = "95%") -> Layers:
    """A row a decoder: its score within its interval, its controls below it, and the bound of an error as a stroke.

    Args:
        results: tidy, of one hook and output, as `workbench decode` makes it: `decoder`, `variant`, the score with
            `_low` and `_high`, `note`; of errors `measure` (what it is) and `bound` too.
        score: which.
        interval: what `_low` and `_high` bound.

    Raises:
        ValueError: a column is missing, or some decoder and variant has two lines.
    """
    require_columns(results, ["decoder", "variant", score, f"{score}_low", f"{score}_high"], "decoding_scores")
    if results.duplicated(["decoder", "variant"]).any():
        raise ValueError("decoding_scores needs one line of every decoder and variant: choose a hook and an output.")
    known = results[results[score].notna()]
    present = [name for name in DECODER_VARIANTS if name in set(known["variant"])]
    decoders = results["decoder"].unique().tolist()
    table = pd.DataFrame({name: known[name] for name in ("decoder", "variant")})
    table = table.assign(value=known[score], low=known[f"{score}_low"], high=known[f"{score}_high"])
    table["note"] = known["note"].fillna("") if "note" in known else ""
    measures = [str(m) for m in known["measure"].dropna().unique()] if score == "error" and "measure" in known else []
    title = MEASURES[score] + (f" ({' or '.join(measures)})" if measures else "")
    scale = _scale(table, score)
    x = alt.X("shown:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6))
    drawn = table.assign(
        **{f"shown{end}": table[name] for end, name in (("", "value"), ("_low", "low"), ("_high", "high"))}
    )
    if score == "r2":
        drawn = drawn.assign(**{name: drawn[name].clip(lower=WORST) for name in ("shown", "shown_low", "shown_high")})
    place = _place(decoders, present)
    tooltip = [
        alt.Tooltip("decoder:N"),
        alt.Tooltip("variant:N", title="of"),
        alt.Tooltip("value:Q", format=".3f", title=MEASURES[score]),
        alt.Tooltip("low:Q", format=".3f", title=f"at least ({interval})"),
        alt.Tooltip("high:Q", format=".3f", title=f"at most ({interval})"),
        alt.Tooltip("note:N"),
    ]
    base = alt.Chart(drawn)
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.6).encode(
            x=alt.X("shown_low:Q", scale=scale), x2=alt.X2("shown_high:Q"), color=_colour(present), **place
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x, color=_colour(present), shape=_shape(present), tooltip=tooltip, **place
        ),
    ]
    if score == "error" and "bound" in known and known["bound"].notna().any():
        layers.append(_bound(known, decoders, scale))
    rows = max(len(present), 1) * _STEP
    return alt.layer(*layers).properties(height={"step": rows, "for": "position"})


def _scale(table: pd.DataFrame, score: Measure) -> alt.Scale:
    if score == "error":
        return alt.Scale(zero=True, padding=8)
    lowest = min(float(table[["value", "low"]].min().min()) if len(table) else 0.0, 0.0)
    return alt.Scale(domain=[max(lowest, WORST), 1.0], nice=False, padding=8)


def _place(decoders: list[str], present: list[str]) -> dict[str, Any]:
    axis = alt.Axis(labelLimit=170, ticks=False, domain=False, grid=True, gridOpacity=0.3, bandPosition=1)
    return {
        "y": alt.Y("decoder:N", title=None, scale=alt.Scale(domain=decoders, paddingInner=0.25), axis=axis),
        "yOffset": alt.YOffset("variant:N", scale=alt.Scale(domain=present)),
    }


def _colour(present: list[str]) -> alt.Color:
    scale = alt.Scale(domain=present, range=[DECODER_VARIANTS[name] for name in present])
    return alt.Color("variant:N", title=None, sort=present, scale=scale, legend=_legend())


def _shape(present: list[str]) -> alt.Shape:
    at = [list(DECODER_VARIANTS).index(name) for name in present]
    scale = alt.Scale(domain=present, range=[_SHAPES[i] for i in at])
    return alt.Shape("variant:N", title=None, sort=present, scale=scale, legend=_legend())


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", direction="horizontal", columns=4, symbolOpacity=1)


def _bound(known: pd.DataFrame, decoders: list[str], scale: alt.Scale) -> alt.Chart:
    table = known.loc[(known["variant"] == "decoder") & known["bound"].notna(), ["decoder", "bound"]]
    return (
        alt.Chart(table)
        .mark_tick(color=RULE, thickness=2, orient="vertical")
        .encode(
            x=alt.X("bound:Q", scale=scale),
            y=alt.Y("decoder:N", scale=alt.Scale(domain=decoders)),
            tooltip=[alt.Tooltip("decoder:N"), alt.Tooltip("bound:Q", format=".3g", title="Cramér–Rao bound")],
        )
    )
