"""All that `workbench steer` does: what a subject goes on to say while it is pushed, and what that did on average."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.table_files import kept_table
from models.tensor_files import save_tensors
from workbench.experiments.directions import Direction
from workbench.experiments.steering_results import DIRECTION, EFFECTS, RESULT
from workbench.features.reading.text import check_reads_text
from workbench.interventions.steering import steer, steering_effects


@dataclass(frozen=True)
class SteeringSettings:
    """How a subject is steered.

    Attributes:
        strengths: shares of a whole push.
        max_new: how many tokens each text gets.
        temperature: 0 takes the likeliest token.
        n_controls: random directions for each strength.
        seed: of the draws, and of random directions.
    """

    strengths: Sequence[float] = (0.5, 1.0, 2.0, 4.0)
    max_new: int = 24
    temperature: float = 0.0
    n_controls: int = 3
    seed: int = 0


def check_prompts(model: Any, prompts: Sequence[str]) -> None:
    """`ValueError` where a subject reads no text, or a prompt is empty."""
    check_reads_text(model)
    if not all(prompts):
        raise ValueError("a prompt is empty: type at least one character.")


def steer_prompts(
    model: Any, prompts: Sequence[str], direction: Direction, folder: Path, settings: SteeringSettings
) -> dict[str, Any]:
    """Steer a subject as it goes on from prompts, and write down what it said, what that did, and the direction.

    Args:
        model: the subject.
        prompts: texts.
        direction: where it is pushed.
        folder: where; parts that lie there are not made again.
        settings: how.

    Returns:
        The `hook`, the direction's `direction` and `unit` in words, and `whole`, a whole push in these units.

    Raises:
        ValueError: as `steer`.
    """
    kept_table(folder / RESULT, lambda: _steered(model, prompts, direction, settings))
    kept_table(folder / EFFECTS, lambda: steering_effects(pd.read_parquet(folder / RESULT), settings.seed))
    subspace = direction.subspace
    vectors = {"read": subspace.read, "write": subspace.write, "intercept": subspace.intercept}
    save_tensors({name: value.contiguous() for name, value in vectors.items()}, folder / DIRECTION)
    return {
        "hook": direction.hook,
        "direction": direction.name,
        "unit": direction.unit,
        "whole": direction.whole,
    }


def _steered(model: Any, prompts: Sequence[str], direction: Direction, settings: SteeringSettings) -> pd.DataFrame:
    return steer(
        model,
        list(prompts),
        direction.edits(settings.strengths),
        direction.hook,
        max_new=settings.max_new,
        temperature=settings.temperature,
        n_controls=settings.n_controls,
        seed=settings.seed,
    )
