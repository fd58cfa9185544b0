"""Training: any iterable of rows in, sparse autoencoders out, exactly resumable; several on one reading of the rows."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from models import ranks
from models.progress import progress
from workbench.sae.base import SAE
from workbench.sae.checkpoint import CHECKPOINT
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.initialise import SAMPLE_ROWS
from workbench.sae.saving import CONFIG_FILE, load_sae
from workbench.sae.stream import BatchStream, Named, Position, RowStream, joined, rows_of
from workbench.sae.trainer import REPORT, Trainer, settings_of

LogCallback = Callable[[dict[str, float]], None]


def train_sae(
    cfg: SAEConfig,
    batches: Iterable[Any],
    train_cfg: SAETrainConfig | None = None,
    *,
    out: str | Path | None = None,
    device: str | torch.device = "cpu",
    on_log: LogCallback | None = None,
) -> SAE:
    """Train one sparse autoencoder, transcoder or crosscoder.

    Args:
        cfg: what to train.
        batches: any iterable of [n, d_in]; of pairs ([n, d_in], [n, d_out]) for a transcoder; of [n, n_layers, d_in]
            for a crosscoder; or of mappings from hooks to [n, d], of which those that `cfg` names are read. The rows
            are regrouped into `train_cfg.batch_size`. It must yield `train_cfg.n_tokens` rows, in the same order
            again when a killed training is resumed.
        train_cfg: how to train.
        out: a folder that keeps the training: `metrics.jsonl` and, about every ten seconds, a checkpoint; in
            the end the SAE in SAELens's layout and `training.json`. A killed training with the same settings
            goes on from its checkpoint and ends, at the same number of threads, in the same weights bit for
            bit; a finished one is read back. Without it nothing is written.
        device: where to train.
        on_log: called with every record of the log.

    Returns:
        The SAE of unscaled inputs, in evaluation mode and without gradients.

    Raises:
        ValueError: rows of another width, too few rows, a batch that is not finite, a dictionary all of whose latents
            are dead (the last good checkpoint stays), or a folder that belongs to a training with other settings.
    """
    log = None if on_log is None else lambda number, record: on_log(record)
    outs = None if out is None else [out]
    return train_saes([cfg], batches, train_cfg, outs=outs, device=device, on_log=log)[0]


def train_saes(
    cfgs: Sequence[SAEConfig],
    batches: Iterable[Any],
    train_cfgs: SAETrainConfig | Sequence[SAETrainConfig] | None = None,
    *,
    outs: Sequence[str | Path] | None = None,
    device: str | torch.device = "cpu",
    on_log: Callable[[int, dict[str, float]], None] | None = None,
) -> list[SAE]:
    """Train several on one reading of the rows: other widths, k, seeds, architectures, hooks.

    Each ends in the weights that it would have by itself. All must agree on `n_tokens` and `batch_size`.

    Args:
        cfgs: what to train.
        batches: as for `train_sae`; several hooks come as mappings, or as a store's batches of several hooks.
        train_cfgs: how to train: all alike, or one for each.
        outs: a folder for each.
        device: where to train.
        on_log: called with the number of an SAE and every record of its log.

    Raises `ValueError` as `train_sae`, and where the trainings cannot share their batches.
    """
    hows = _one_each(cfgs, train_cfgs)
    if outs is not None and not len(cfgs) == len(outs) == len({Path(out) for out in outs}):
        raise ValueError(f"{len(outs)} folders were given for {len(cfgs)} SAEs: each needs one of its own.")
    folders = [None] * len(cfgs) if outs is None else [Path(out) for out in outs]
    ranks.join()
    saes: dict[int, SAE] = {}
    trainers: dict[int, Trainer] = {}
    for i, (cfg, how, folder) in enumerate(zip(cfgs, hows, folders, strict=True)):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if (finished := read_finished(folder, settings_of(cfg, how))) is not None:
                saes[i] = finished.to(device)
                continue
        trainers[i] = Trainer(cfg, how, folder, torch.device(device), _numbered(on_log, i))
    if trainers:
        ranks.barrier()  # all have read the checkpoints before the first may write others
        _run(list(trainers.values()), batches, hows[0])
        saes |= {i: trainer.finish() for i, trainer in trainers.items()}
        ranks.barrier()
    return [saes[i] for i in range(len(cfgs))]


def _run(trainers: list[Trainer], batches: Iterable[Any], how: SAETrainConfig) -> None:
    """Step all of them through the batches; those that a checkpoint has put ahead wait for the others."""

    def check(batch: Named) -> None:
        for trainer in trainers:
            rows_of(trainer.cfg, batch)

    source, size = _share(batches, how.batch_size)
    done = min(steps_of(trainer) for trainer in trainers)
    start = next(trainer.position for trainer in trainers if steps_of(trainer) == done)
    follow(trainers, RowStream(source, size, how.n_tokens // ranks.world(), check, start), how)


def steps_of(trainer: Trainer) -> int:
    """How many steps it has taken."""
    return trainer.state.step if trainer.state else 0


def follow(trainers: list[Trainer], stream: BatchStream, how: SAETrainConfig) -> None:
    """Step all of them through a stream's batches to the end of the training, with checkpoints."""
    done = min(steps_of(trainer) for trainer in trainers)
    ahead = _begin(trainers, stream, min(SAMPLE_ROWS, how.n_tokens) // ranks.world())
    last_checkpoint = time.monotonic()
    every = min(trainer.train_cfg.checkpoint_every_s for trainer in trainers)
    shown, what = ranks.is_first(), "SAE" if len(trainers) == 1 else f"{len(trainers)} SAEs"
    initial = done * how.batch_size
    with progress(desc=f"training {what}", total=how.n_tokens, unit="tok", initial=initial, shown=shown) as bar:
        while done * how.batch_size < how.n_tokens:
            batch, position = ahead.pop(0) if ahead else (stream.next_batch(), stream.position)
            for trainer in trainers:
                assert trainer.state is not None
                if trainer.state.step == done and (record := trainer.step(batch, position)):
                    bar.set_postfix_str(f"EV {record['explained_variance']:.3f}, dead {record['dead_fraction']:.1%}")
            bar.update(min(how.batch_size, how.n_tokens - done * how.batch_size))
            done += 1
            if shown and time.monotonic() - last_checkpoint >= every:
                for trainer in trainers:
                    trainer.checkpoint()
                last_checkpoint = time.monotonic()


def _begin(trainers: list[Trainer], stream: BatchStream, n_rows: int) -> list[tuple[Named, Position]]:
    """Read a first sample, which is trained on like all that follows, and have the trainings measure it."""
    ahead: list[tuple[Named, Position]] = []
    rows = 0 if any(trainer.state is None for trainer in trainers) else n_rows  # a checkpoint knows it already
    while rows < n_rows:
        ahead.append((stream.next_batch(), stream.position))
        rows += stream.batch_size
    found = joined([batch for batch, _ in ahead]) if ahead else {}
    sample = {name: ranks.joined(tensor) for name, tensor in found.items()}
    for trainer in trainers:
        trainer.begin(sample)
    return ahead


def _share(batches: Iterable[Any], batch_size: int) -> tuple[Iterable[Any], int]:
    """What this process reads of every batch, and how many rows that is: all of it, where it is alone."""
    if ranks.world() == 1:
        return batches, batch_size
    if not hasattr(batches, "part") or batches.batch_size != batch_size:  # type: ignore[attr-defined]
        raise ValueError(
            "several processes train one SAE from the batches of a store, of the size that is trained on: "
            f"give `store.batches(hook, {batch_size})`."
        )
    if batch_size % ranks.world():
        raise ValueError(f"batch_size is {batch_size}: it must be a multiple of the {ranks.world()} processes.")
    return batches.part(ranks.rank(), ranks.world()), batch_size // ranks.world()


def _one_each(
    cfgs: Sequence[SAEConfig], train_cfgs: SAETrainConfig | Sequence[SAETrainConfig] | None
) -> list[SAETrainConfig]:
    if not cfgs:
        raise ValueError("no SAE was named: give at least one config.")
    if train_cfgs is None or isinstance(train_cfgs, SAETrainConfig):
        return [train_cfgs or SAETrainConfig()] * len(cfgs)
    if len(train_cfgs) != len(cfgs):
        raise ValueError(f"{len(train_cfgs)} ways to train were given for {len(cfgs)} SAEs: give one for each.")
    for name in ("n_tokens", "batch_size"):
        found = sorted({getattr(how, name) for how in train_cfgs})
        if len(found) > 1:
            raise ValueError(f"SAEs that share their batches share {name} too: it is {' and '.join(map(str, found))}.")
    return list(train_cfgs)


def _numbered(on_log: Callable[[int, dict[str, float]], None] | None, number: int) -> LogCallback | None:
    return None if on_log is None else lambda record: on_log(number, record)


def read_finished(folder: Path, settings: dict[str, Any]) -> SAE | None:
    """The SAE of a training that has ended in this folder, if one has. `ValueError` where it had other settings."""
    if not (folder / CONFIG_FILE).exists() or (folder / CHECKPOINT).exists():
        return None
    report = folder / REPORT
    found = json.loads(report.read_text("utf8")) if report.exists() else {}
    if any(found.get(name) != json.loads(json.dumps(value)) for name, value in settings.items()):
        raise ValueError(f"{folder} already holds an SAE of other settings: choose another folder.")
    return load_sae(folder)
