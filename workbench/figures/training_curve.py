"""How a subject learned: loss against step, with what counting alone would reach."""

import altair as alt
import pandas as pd

from workbench.figures.palette import NEURONS, RULE, TRAINED, Layers, require_columns

_SPLITS = {"train": NEURONS, "held out": TRAINED}


def training_curve(
    losses: pd.DataFrame, baselines: dict[str, float] | None = None, height: int = 260, unit: str = "nats a token"
) -> Layers:
    """Loss against training step, one line a split.

    Args:
        losses: tidy, columns `step`, `split` (`train` or `held out`) and `loss`.
        baselines: losses of counting models (`unigram`, `bigram`) on held-out text, drawn as labelled rules.
        height: in pixels.
        unit: what the loss is counted in.
    """
    require_columns(losses, ["step", "split", "loss"], "training_curve")
    splits = [name for name in _SPLITS if name in set(losses["split"])]
    colours, dashes = [_SPLITS[name] for name in splits], [[4, 3] if name == "train" else [1, 0] for name in splits]
    legend = alt.Legend(orient="top", direction="horizontal")
    lines = (
        alt.Chart(losses)
        .mark_line(strokeWidth=2, interpolate="monotone")
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(format=",d", grid=False)),
            y=alt.Y("loss:Q", title=f"loss ({unit})", scale=alt.Scale(zero=False)),
            color=alt.Color("split:N", title=None, scale=alt.Scale(domain=splits, range=colours), legend=legend),
            strokeDash=alt.StrokeDash(
                "split:N", title=None, scale=alt.Scale(domain=splits, range=dashes), legend=legend
            ),
            tooltip=[
                alt.Tooltip("split:N"),
                alt.Tooltip("step:Q", format=","),
                alt.Tooltip("loss:Q", format=".3f", title=f"loss ({unit})"),
            ],
        )
    )
    rules = pd.DataFrame({"model": list(baselines or {}), "loss": list((baselines or {}).values())})
    rule = alt.Chart(rules).mark_rule(color=RULE, strokeDash=[2, 3]).encode(y=alt.Y("loss:Q"), tooltip=_rule_tooltip())
    label = (
        alt.Chart(rules)
        .transform_calculate(label="datum.model + '  ' + format(datum.loss, '.2f')")
        .mark_text(align="right", dx=-4, dy=-6, color=RULE, fontSize=11)
        .encode(y=alt.Y("loss:Q"), x=alt.value("width"), text=alt.Text("label:N"), tooltip=_rule_tooltip())
    )
    return alt.layer(lines, rule, label).properties(height=height)


def losses_and_baselines(metrics: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """What `training_curve` takes, from the rows that `models.train` returns and logs.

    Columns `step`, `train_loss`, `heldout_loss`, and in some row `unigram_loss` and `bigram_loss`; what is missing is
    left out.
    """
    known = {"train_loss": "train", "heldout_loss": "held out"}
    columns = [name for name in known if name in metrics.columns]
    tidy = metrics.melt(id_vars="step", value_vars=columns, var_name="split", value_name="loss").dropna(subset=["loss"])
    baselines = {
        name: float(metrics[f"{name}_loss"].dropna().iloc[0])
        for name in ("unigram", "bigram")
        if f"{name}_loss" in metrics and metrics[f"{name}_loss"].notna().any()
    }
    return tidy.assign(split=tidy["split"].map(known)), baselines


def _rule_tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("model:N", title="baseline"),
        alt.Tooltip("loss:Q", format=".3f", title="loss (nats)"),
    ]
