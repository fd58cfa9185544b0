"""Induction heads: two layers of attention alone complete a repeated sequence, and one layer cannot."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from models import recipes
from models.tasks.repeated_sequences import RepeatedSequences
from models.transformer import Transformer
from workbench.attention.composition import composition_scores
from workbench.interventions.ablation import ablating
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.induction_measures import heads_of, repeat_loss

TITLE = "Induction heads form in two layers of attention, and not in one"
PAPER = "Olsson et al. 2022, In-context learning and induction heads, arXiv 2209.11895"

N_MEASURED = 512  # held-out sequences


def reproduce(bench: Bench) -> list[Row]:
    """Train two layers and one, score every head, and take the previous-token head away."""
    two = recipes.get("induction-heads")
    one = replace(two, model=two.model | {"n_layers": 1})
    seeds = range(5 if bench.full else 1)
    wanted = {f"two-layers-{s}": two.with_changes(seed=s) for s in seeds}
    wanted |= {f"one-layer-{s}": one.with_changes(seed=s) for s in seeds}
    runs = bench.subjects(wanted)
    assert isinstance(two.task, RepeatedSequences)
    found, heads = [], []
    for name, run in runs.items():
        data = run.dataset(with_labels=False)
        tokens = data.tokens[data.sequences("test")][:N_MEASURED]
        for step in (0, None):
            subject = {"subject": name, "trained": step is None}
            measured, table = measure(run.model(step), tokens, two.task)
            found.append(subject | measured)
            heads.append(table.assign(**subject))
    bench.table("heads", pd.concat(heads, ignore_index=True))
    subjects = pd.DataFrame(found)
    bench.table("subjects", subjects, ablation=ABLATION)
    return _rows(subjects, two.task)


ABLATION = "each position's mean over sequences in place of the head's z"


def loss_without_head(
    model: Transformer, tokens: Int[Tensor, "seq time"], task: RepeatedSequences, layer: int, *heads: int
) -> float:
    """`repeat_loss` under mean ablation: the heads' output z is replaced by its mean over sequences, at each position.

    What a head says of positions is kept, and what it says of tokens is gone.
    """

    places = [(f"blocks.{layer}.attn.hook_z", head) for head in heads]
    with model.hooks(fwd_hooks=ablating(model, tokens, places, ablation="position mean")):
        return repeat_loss(model, tokens, task)


@torch.no_grad()
def measure(
    model: Transformer, tokens: Int[Tensor, "seq time"], task: RepeatedSequences
) -> tuple[dict[str, Any], pd.DataFrame]:
    """What a subject does with repeated sequences, and its heads.

    Returns:
        The subject's loss in the repeat, its best prefix-matching head in the last layer and that head's copying; for
        more than one layer also its best previous-token head in layer 0, that head's K-composition with the first
        beside the 99th percentile of random matrices, and the share of the gain over chance that ablating it
        removes, beside the largest share of another head of its layer and that of all of them. Then a row a head:
        `layer`, `head`, `previous_token`, `prefix_matching`, `copying`.
    """
    heads = heads_of(model, tokens)
    by_layer = heads.set_index(["layer", "head"])
    loss = repeat_loss(model, tokens, task)
    last = by_layer.loc[model.cfg.n_layers - 1]
    inducing = int(last["prefix_matching"].idxmax())
    found = {"repeat_loss": loss} | last.loc[inducing, ["prefix_matching", "copying"]].to_dict()
    if model.cfg.n_layers == 1:
        return found, heads
    before = int(by_layer.loc[0, "previous_token"].idxmax())
    others = [head for head in range(model.cfg.n_heads) if head != before]
    gain = task.chance_loss - loss
    removed = [(loss_without_head(model, tokens, task, 0, head) - loss) / gain for head in range(model.cfg.n_heads)]
    pairs = composition_scores(model, ["K"]).set_index(["from_layer", "from_head", "to_layer", "to_head"])
    pair = pairs.loc[(0, before, model.cfg.n_layers - 1, inducing)]
    found |= {
        "previous_token": by_layer.loc[(0, before), "previous_token"],
        "k_composition": pair["value"],
        "random_k_composition": pair["random_high"],
        "removed": removed[before],
        "removed_by_another": max((removed[head] for head in others), default=float("nan")),
        "removed_by_all": (loss_without_head(model, tokens, task, 0, *range(model.cfg.n_heads)) - loss) / gain,
    }
    return found, heads


def _rows(subjects: pd.DataFrame, task: RepeatedSequences) -> list[Row]:
    two = subjects[subjects["subject"].str.startswith("two")]
    trained, untrained = two[two["trained"]], two[~two["trained"]]
    one = subjects[subjects["subject"].str.startswith("one") & subjects["trained"]]
    n = len(trained)

    def row(result: str, of: Sequence[float], bar: str, ok: Any, beside: str = "", published: str = "") -> Row:
        ours = spread(list(of)) + (f"; {beside}" if beside else "")
        return Row(result, published, ours, bar, bool(ok.all()))

    def before(column: str) -> str:
        return f"untrained {spread(list(untrained[column]))}"

    return [
        row(
            f"loss in the repeat, nats; {n} seed(s), chance {task.chance_loss:.2f}",
            trained["repeat_loss"],
            "< 0.3 in every seed",
            trained["repeat_loss"] < 0.3,
            before("repeat_loss"),
        ),
        row(
            "the same with one layer",
            one["repeat_loss"],
            "it fails: > 2",
            one["repeat_loss"] > 2,
            published="one layer has no induction heads",
        ),
        row(
            "best layer-1 head: prefix matching",
            trained["prefix_matching"],
            "≥ 0.6 in every seed",
            trained["prefix_matching"] >= 0.6,
            f"{before('prefix_matching')}, one layer {spread(list(one['prefix_matching']))}",
        ),
        row(
            "the same head: copying, Σ Re λ / Σ |λ|",
            trained["copying"],
            "≥ 0.5 in every seed",
            trained["copying"] >= 0.5,
            before("copying"),
        ),
        row(
            "best layer-0 head: attention to the previous token",
            trained["previous_token"],
            "≥ 0.6 in every seed",
            trained["previous_token"] >= 0.6,
            before("previous_token"),
        ),
        row(
            "K-composition of the two heads",
            trained["k_composition"],
            f"> {trained['random_k_composition'].max():.3f}, 99th percentile of random matrices",
            trained["k_composition"] > trained["random_k_composition"],
            before("k_composition"),
        ),
        row(
            "share of the gain lost without that head (mean ablation)",
            trained["removed"],
            "≥ 0.8 in every seed",
            trained["removed"] >= 0.8,
            f"without another of layer 0 {spread(list(trained['removed_by_another']))}; "
            f"without all of layer 0 {spread(list(trained['removed_by_all']))}",
        ),
    ]
