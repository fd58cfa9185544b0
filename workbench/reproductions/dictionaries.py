"""Dictionaries that a reproduction trains: several on one reading of the rows, each kept as an artifact of its run."""

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any, NamedTuple

from models.artifacts import ArtifactError, Manifest, canonical, publishing
from workbench.reproductions.base import Bench
from workbench.runs import Run
from workbench.sae import SAE, SAEConfig, SAETrainConfig, load_sae, train_saes


class Wanted(NamedTuple):
    """A dictionary to be trained, and how."""

    cfg: SAEConfig
    how: SAETrainConfig


def dictionaries(
    bench: Bench,
    wanted: Mapping[str, Wanted],
    batches: Iterable[Any],
    *,
    inputs: Mapping[str, str] | None = None,
    rows: Mapping[str, Any] | None = None,
) -> dict[str, SAE]:
    """A dictionary for each name: those that are there, and those trained now, all on one reading of the rows.

    A killed training goes on where it stopped, and ends in the same weights.

    Args:
        bench: they become `saes/NAME` of its run.
        wanted: all must agree on `n_tokens` and `batch_size`.
        batches: as for `train_saes`; the same rows in the same order whenever it is asked.
        inputs: what the rows were recorded from: manifests' ids by their paths from the run's folder.
        rows: what else decides the rows, in plain JSON: how they were drawn, the seed of their order.
    """
    run, origin = Run.create(bench.path), dict(inputs or {})
    configs = {
        name: {"sae": cfg.to_dict(), "training": asdict(how), "rows": dict(rows or {})}
        for name, (cfg, how) in wanted.items()
    }
    missing = [name for name in wanted if not _stands(run, name, origin, configs[name])]
    if missing:
        bench.tell(f"training {', '.join(missing)}")
        with ExitStack() as stack:
            drafts = [
                stack.enter_context(publishing(run.path_of("sae", name), "sae", inputs=origin, config=configs[name]))
                for name in missing
            ]
            cfgs, hows = [wanted[name].cfg for name in missing], [wanted[name].how for name in missing]
            train_saes(cfgs, batches, hows, outs=[draft.path for draft in drafts])
    return {name: load_sae(run.path_of("sae", name)) for name in wanted}


def _stands(run: Run, name: str, inputs: dict[str, str], config: dict[str, Any]) -> bool:
    with suppress(ArtifactError):
        manifest = Manifest.read(run.path_of("sae", name))
        return manifest.inputs == inputs and manifest.config == json.loads(canonical(config))
    return False
