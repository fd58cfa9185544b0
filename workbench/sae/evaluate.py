"""A dictionary's numbers, and a table of them beside the dictionaries that learned nothing."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import pandas as pd

from models.dataset import Dataset
from workbench.sae.base import SAE
from workbench.sae.controls import (
    Moments,
    control_config,
    linear_dictionary,
    mean_l0,
    moment_rows,
    neuron_dictionary,
    pca_dictionary,
    random_dictionary,
)
from workbench.sae.loss_recovered import losses_recovered
from workbench.sae.metrics import measure
from workbench.sae.stream import mappings_of

Batches = Callable[[], Iterable[Any]]
# Batches on which the controls' k and the random dictionary's one factor are fitted.
SAMPLE_BATCHES = 8


def evaluate_sae(
    sae: SAE,
    batches: Iterable[Any],
    model: Any = None,
    dataset: Dataset | None = None,
    *,
    hook_name: str | None = None,
) -> dict[str, float]:
    """Everything that is measured of one dictionary, on rows it was not trained on.

    Args:
        sae: the dictionary.
        batches: held-out rows, such as it is trained on: [n, d_in], pairs for a transcoder, [n, n_layers, d_in] for a
            crosscoder, or mappings from hooks.
        model, dataset: the subject and held-out documents; without both, loss recovered is left out.
        hook_name: the hook that is replaced; the SAE's own where None.

    Returns:
        `d_sae`, `k`, and the numbers of `workbench.sae.metrics.streaming` and `workbench.sae.loss_recovered` by name.
    """
    return _evaluated([sae], lambda: batches, model, dataset, hook_name)[0]


def _evaluated(
    saes: Sequence[SAE], batches: Batches, model: Any, dataset: Dataset | None, hook_name: str | None
) -> list[dict[str, float]]:
    if (model is None) != (dataset is None):
        raise ValueError("loss recovered needs both a model and a dataset: give both, or neither.")
    rows = [_shape(sae) | measure(sae, batches()) for sae in saes]
    if model is None or dataset is None:
        return rows
    losses = losses_recovered(model, saes, dataset, hook_name=hook_name)
    return [row | loss for row, loss in zip(rows, losses, strict=True)]


def _shape(sae: SAE) -> dict[str, float]:
    shape: dict[str, float] = {"d_sae": sae.cfg.d_sae}
    return shape if sae.cfg.k is None else shape | {"k": sae.cfg.k}


def control_dictionaries(sae: SAE, batches: Batches, *, max_rows: int | None = 200_000) -> dict[str, SAE]:
    """`PCA`, `random` and `neurons`, and for a transcoder `linear`: as sparse as this one, fitted on its training rows.

    Where a row may have more or fewer active latents than k, the controls' k is the mean L0 on the first batches.

    Args:
        sae: the dictionary they stand beside.
        batches: called for a fresh pass over training rows, as for `evaluate_sae`.
        max_rows: how many rows are read for mean and covariance; all where None.
    """
    cfg = sae.cfg

    def sample() -> Iterable[Any]:
        return islice(mappings_of(batches()), SAMPLE_BATCHES)

    k = cfg.k if cfg.k is not None and sae.latents_compete else round(mean_l0(sae, sample()))
    fitted = control_config(cfg, k)
    moments = Moments.of(moment_rows(cfg, batches()), max_rows)
    controls: dict[str, SAE] = {
        "PCA": pca_dictionary(fitted, moments),
        "random": random_dictionary(fitted, moments, sample()),
        "neurons": neuron_dictionary(fitted, moments),
    }
    if cfg.kind == "transcoder":
        controls["linear"] = linear_dictionary(fitted, moments)
    return controls


def compare_dictionaries(
    dictionaries: dict[str, SAE],
    batches: Batches,
    model: Any = None,
    dataset: Dataset | None = None,
    *,
    hook_name: str | None = None,
) -> pd.DataFrame:
    """`evaluate_sae` of several dictionaries of the same hooks on the same rows, one line each, under `dictionary`.

    `batches` is called once for each dictionary, for a fresh pass over the same held-out rows, such as `evaluate_sae`
    takes. The subject's passes that no dictionary is in are made once for all.
    """
    rows = _evaluated(list(dictionaries.values()), batches, model, dataset, hook_name)
    return pd.DataFrame([{"dictionary": name} | row for name, row in zip(dictionaries, rows, strict=True)])
