"""What is measured of pairs of prompts before anything is put in: the two ends between which an effect is a share."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from workbench.experiments.prompts import Prompts
from workbench.interventions.passes import measure_jobs


def both_ends(model: Any, prompts: Prompts, batch_size: int) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """The metric of each clean and of each corrupt prompt: both are asked what the clean one is."""
    how: dict[str, Any] = {"asked": prompts.clean, "batch_size": batch_size}
    clean, corrupt = (
        measure_jobs(model, data, prompts.metric, 1, lambda *_: [], **how)[0]
        for data in (prompts.clean, prompts.corrupt)
    )
    return clean, corrupt
