"""Which concepts have a direction of their own: the best feature for each beside the best neuron and two controls."""

import altair as alt
import pandas as pd

from workbench.figures.palette import DICTIONARIES, RULE, SHAPES, Layers, require_columns

_SOURCES = {"feature_f1": "trained", "neuron_f1": "neurons", "pca_f1": "PCA", "random_f1": "random"}


def concept_gain(concepts: pd.DataFrame) -> Layers:
    """A dot plot, one line a concept in the order they come: held-out F1 of the best of each dictionary.

    A grey line joins feature and neuron; the blue one is the interval of the gain, counted from the neuron's dot; the
    upright stroke is what knowing the token alone gives. Where the columns are neurons themselves there is no neuron
    beside them, and both lines are from the best random direction.

    Args:
        concepts: columns `concept`, `feature_f1`, `neuron_f1`, `pca_f1`, `random_f1`, and `gain` (feature less neuron)
            with its interval `gain_low`, `gain_high`, and `token_f1`.
    """
    require_columns(concepts, ["concept", "gain", "gain_low", "gain_high", "token_f1", *_SOURCES], "concept_gain")
    rival = concepts["neuron_f1"].fillna(concepts["random_f1"])
    shown = concepts.assign(
        rival=rival,
        low=(rival + concepts["gain_low"]).clip(0, 1),
        high=(rival + concepts["gain_high"]).clip(0, 1),
    )
    y = alt.Y(
        "concept:N",
        sort=shown["concept"].tolist(),
        title=None,
        axis=alt.Axis(labelLimit=300, grid=True, gridOpacity=0.35, ticks=False, domain=False),
    )
    span = (
        alt.Chart(shown).mark_rule(color=RULE, opacity=0.6).encode(y=y, x=alt.X("rival:Q"), x2=alt.X2("feature_f1:Q"))
    )
    interval = (
        alt.Chart(shown)
        .mark_rule(color=DICTIONARIES["trained"], strokeWidth=2.5)
        .encode(y=y, x=alt.X("low:Q"), x2=alt.X2("high:Q"))
    )
    token = (
        alt.Chart(shown)
        .mark_tick(color=RULE, thickness=2.5, size=13)
        .encode(
            y=y,
            x=alt.X("token_f1:Q"),
            tooltip=[alt.Tooltip("concept:N"), alt.Tooltip("token_f1:Q", format=".3f", title="token alone")],
        )
    )
    return alt.layer(span, interval, token, _dots(shown, y)).properties(height=alt.Step(20))


def _dots(shown: pd.DataFrame, y: alt.Y) -> alt.Chart:
    kept = ["concept", "gain", "gain_low", "gain_high"]
    tidy = shown.melt(id_vars=kept, value_vars=list(_SOURCES), var_name="source", value_name="f1")
    names = list(DICTIONARIES)
    return (
        alt.Chart(tidy.assign(dictionary=tidy["source"].map(_SOURCES)))
        .mark_point(filled=True, size=62, opacity=1)
        .encode(
            y=y,
            x=alt.X(
                "f1:Q",
                title="F1 on held-out documents",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(grid=False, format=".1f", values=[i / 10 for i in range(11)]),
            ),
            color=alt.Color(
                "dictionary:N",
                title="best of",
                scale=alt.Scale(domain=names, range=list(DICTIONARIES.values())),
                legend=alt.Legend(orient="top", direction="horizontal"),
            ),
            shape=alt.Shape(
                "dictionary:N", title="best of", scale=alt.Scale(domain=names, range=list(SHAPES.values()))
            ),
            tooltip=[
                alt.Tooltip("concept:N"),
                alt.Tooltip("dictionary:N", title="best of"),
                alt.Tooltip("f1:Q", format=".3f", title="F1"),
                alt.Tooltip("gain:Q", format="+.3f", title="feature − neuron"),
                alt.Tooltip("gain_low:Q", format="+.3f", title="at least (95%)"),
                alt.Tooltip("gain_high:Q", format="+.3f", title="at most (95%)"),
            ],
        )
    )


def concepts_by_gain(concepts: pd.DataFrame, kind: str, *, about: str = "", beyond_token: bool = False) -> pd.DataFrame:
    """The concepts of one kind, those whose gain is surest first.

    Args:
        concepts: `FeatureIndex.concepts`.
        kind: `single` or `pair`.
        about: each of its words must stand in the concept; case does not matter.
        beyond_token: only where the feature knows more than the token.
    """
    chosen = concepts[concepts["kind"] == kind].sort_values("gain_low", ascending=False)
    names = chosen["concept"].str.casefold()
    for word in about.casefold().split():
        chosen = chosen[names.loc[chosen.index].str.contains(word, regex=False)]
    return chosen[chosen["feature_f1"] > chosen["token_f1"]] if beyond_token else chosen
