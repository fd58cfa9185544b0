"""What is measured of subjects of repeated sequences, and of their heads."""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.evaluation import Batch
from models.tasks.repeated_sequences import RepeatedSequences
from models.transformer import Transformer
from workbench.attention.copying import copying_scores
from workbench.attention.head_scores import head_scores

LOOKED_FOR = {"previous_token": "previous_token", "induction": "prefix_matching"}  # as `head_scores` has it, and here
_AT_ONCE = 64


@dataclass(frozen=True)
class RepeatLoss:
    """The mean loss, in nats, of the tokens that the repeat makes known: all of it but its first."""

    task: RepeatedSequences

    def __call__(self, output: Float[Tensor, "batch pos d_out"], batch: Batch) -> Float[Tensor, " batch"]:
        tokens = batch["input"]
        known = self.task.in_repeat(tokens)[:, :-1] & self.task.in_repeat(tokens)[:, 1:]
        loss = torch.nn.functional.cross_entropy(output[:, :-1].mT, tokens[:, 1:], reduction="none")
        return (loss * known).sum(1) / known.sum(1)


@torch.no_grad()
def repeat_loss(model: Transformer, tokens: Int[Tensor, "seq time"], task: RepeatedSequences) -> float:
    """The mean of `RepeatLoss` over sequences."""
    return float(RepeatLoss(task)(model(tokens), {"input": tokens}).mean())


def looking(model: Transformer, tokens: Int[Tensor, "seq time"]) -> pd.DataFrame:
    """A line a head: `layer`, `head` and its mean attention, `previous_token` and `prefix_matching`."""
    scores = head_scores(
        model, tokens, patterns=list(LOOKED_FOR), random_repeats=False, n_controls=0, batch_size=_AT_ONCE
    )
    by_head = scores.pivot_table("value", ["layer", "head"], "score")
    table = by_head[list(LOOKED_FOR)].rename(columns=LOOKED_FOR).rename_axis(columns=None).reset_index()
    return table.astype({"layer": "int64", "head": "int64"})


def heads_of(model: Transformer, tokens: Int[Tensor, "seq time"]) -> pd.DataFrame:
    """`looking`, and of each head its `copying`, Σ Re λ / Σ |λ|, and `copying_high`, random heads' 99th percentile."""
    names = {"value": "copying", "random_high": "copying_high"}
    copying = copying_scores(model)[["layer", "head", *names]].rename(columns=names)
    return looking(model, tokens).merge(copying, on=["layer", "head"])
