"""What each part of a subject adds to an answer, as finely as that kind of subject is taken apart."""

from typing import Any

import pandas as pd
from jaxtyping import Int
from torch import Tensor

from models.dataset import Dataset
from workbench.dynamics import has_recurrence
from workbench.experiments.patching_results import RANDOM_ANSWERS
from workbench.interventions.components import components_of
from workbench.interventions.direct_logit_attribution import beside_random, direct_logit_attribution
from workbench.interventions.reading_out import ReadOutOf


def adds_up(model: Any, read_out: ReadOutOf) -> bool:
    """Whether logits are sums of what parts add: not where a tanh caps them, or each norm changes all of the stream."""
    try:
        components_of(model, read_out, {_fineness(model)})
    except ValueError:
        return False
    return read_out.cap is None


def answer_parts(
    model: Any,
    data: Dataset,
    answer: Int[Tensor, " seq"],
    wrong: Int[Tensor, " seq"] | None = None,
    *,
    positions: Int[Tensor, " seq"] | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """What each head and MLP adds to an answer's logit, or its difference; of a recurrent subject each unit.

    As `beside_random` gives it, beside `RANDOM_ANSWERS` random answers. `ValueError` as `direct_logit_attribution`.
    """
    found = direct_logit_attribution(
        model,
        data,
        answer,
        wrong,
        positions=positions,
        by=_fineness(model),
        n_controls=RANDOM_ANSWERS,
        batch_size=batch_size,
        seed=seed,
    )
    return beside_random(found)


def _fineness(model: Any) -> str:
    """How fine a logit is taken apart: by head, or by unit of a recurrent subject's state."""
    return "neuron" if has_recurrence(model) else "head"
