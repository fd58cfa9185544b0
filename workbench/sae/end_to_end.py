"""End-to-end training: a dictionary learns what the subject needs of its activations, not what they are.

Braun et al., "Identifying functionally important features with end-to-end sparse dictionary learning" (2024),
arXiv:2405.12241. The subject's weights stay; its output with the reconstruction in the place of the activations is held
against its output without.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models import ranks
from models.dataset import Dataset
from models.saving import fingerprint
from models.step_hooks import StepHookPoint, pos_dim_of
from workbench.interventions.positions import Place
from workbench.interventions.replacing import replacing
from workbench.sae.base import SAE, TrainingLoss, TrainingStep
from workbench.sae.checkpoint import TrainingState
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.loss_recovered import kl_divergence
from workbench.sae.stream import Named, Position, joined
from workbench.sae.subject_batch import SubjectBatch, hooks_of
from workbench.sae.trainer import Trainer, settings_of
from workbench.sae.training import LogCallback, follow, read_finished

LOSSES = ("kl", "ce")
SEQUENCES = "sequences"


def train_sae_end_to_end(
    cfg: SAEConfig,
    model: Any,
    dataset: Dataset,
    train_cfg: SAETrainConfig | None = None,
    *,
    loss: str = "kl",
    downstream: Sequence[str] = (),
    out: str | Path | None = None,
    on_log: LogCallback | None = None,
) -> SAE:
    """Train a sparse autoencoder, transcoder or crosscoder by what a subject loses with it in place.

    What is minimised is KL(clean ‖ spliced) in nats, or the spliced subject's own loss, plus the architecture's
    penalties and the auxiliary loss as in `train_sae`, whose coefficients so count against nats. Nested dictionaries
    are spliced one after the other. Codes are those of a clean pass, and are put in place in a second one.

    Args:
        cfg: what to train; it names its hooks.
        model: the subject. Its weights take no gradients meanwhile.
        dataset: the sequences it reads, over and over, each time in another order; BOS and padding are never replaced.
        train_cfg: how to train. A step takes as many sequences as have about `batch_size` rows.
        loss: `kl` or `ce`; `ce` is the mean squared error where the dataset's targets are vectors. A dictionary trained
            by `ce` may come to know what the subject does not, and go below its loss: `kl` keeps to the subject.
        downstream: further hooks whose values shall stay as they were (the paper's e2e + downstream): the mean over
            them of E‖a − â‖² / E‖a − E a‖² is added.
        out: a folder that keeps the training, as for `train_sae`: a killed one goes on to the same weights bit for bit.
        on_log: called with every record of the log.

    Returns:
        The SAE of unscaled inputs, in evaluation mode and without gradients.

    Raises:
        ValueError: the hooks are not the model's, fire once a step of a recurrence, or change nothing; the loss is
            unknown, or has no meaning for this subject; the dataset has nothing to train on; and as `train_sae`.
    """
    how = train_cfg or SAETrainConfig()
    if ranks.world() > 1:
        raise ValueError("an end-to-end training runs in one process: start it without torchrun.")
    subject = Subject(model, cfg, dataset, loss, downstream)
    read = {"subject": fingerprint(model), "dataset": dataset.fingerprint()}
    more = {"end_to_end": loss, "downstream": list(downstream)} | read
    folder = None if out is None else Path(out)
    device = next(model.parameters()).device
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (finished := read_finished(folder, settings_of(cfg, how, **more))) is not None:
            return finished.to(device)
    trainer = EndToEndTrainer(cfg, how, folder, device, on_log, subject=subject, settings=more)
    stream = SequenceStream(subject.sequences, subject.rows_each, how.batch_size, cfg.seed, trainer.position)
    with _frozen(model):
        follow([trainer], stream, how)
    return trainer.finish()


class Clean(NamedTuple):
    """What a pass that nothing was done to leaves."""

    batch: SubjectBatch
    output: Tensor | None
    """[batch, pos, d_out]; None where the loss does not need it."""
    rows: Named
    """What each hook held at the positions that are replaced."""


class Subject:
    """The subject as a training sees it.

    Attributes:
        sequences: those that have something to replace and something to predict.
        rows_each: how many rows one has on average.
    """

    def __init__(self, model: Any, cfg: SAEConfig, dataset: Dataset, loss: str, downstream: Sequence[str]) -> None:
        if loss not in LOSSES:
            raise ValueError(f"an end-to-end loss cannot be {loss!r}: choose {' or '.join(LOSSES)}.")
        self.model, self.dataset, self.loss, self.downstream = model, dataset, loss, tuple(downstream)
        self.read, self.written = hooks_of(cfg, model)
        self.hooks = list(dict.fromkeys([*self.read, *self.written, *downstream]))
        for hook in self.hooks:
            if hook not in model.hook_dict:
                raise ValueError(f"the model has no hook called {hook!r}.")
            if isinstance(model.hook_dict[hook], StepHookPoint):
                raise ValueError(
                    f"{hook} fires once a step, and what is put there changes the steps that follow: train on a hook "
                    "that holds the whole sequence (blocks.0.hook_out, say)."
                )
        whole = SubjectBatch.of(dataset, slice(None), model, self.read[0])
        if loss == "kl" and not whole.predicts_tokens:
            raise ValueError("the targets are vectors, which have no KL divergence: train with loss='ce'.")
        able = whole.replaced.any(1) & whole.counted.any(1)
        if not able.any():
            raise ValueError(
                "the dataset has no token after BOS to predict another from: there is nothing to train on."
            )
        self.sequences = able.nonzero()[:, 0].numpy()
        self.rows_each = whole.replaced[able].sum(1).float().mean().item()

    @torch.no_grad()
    def clean(self, sequences: Int[Tensor, " chosen"], with_output: bool = True) -> Clean:
        """A pass over some sequences that nothing is done to."""
        batch = SubjectBatch.of(self.dataset, sequences, self.model, self.read[0])
        wanted = "logits" if with_output and self.loss == "kl" else None
        output, cache = self.model.run_with_cache(**batch.given, return_type=wanted, names_filter=self.hooks)
        return Clean(batch, output, {hook: self._rows(cache[hook], hook, batch) for hook in self.hooks})

    def spliced(self, clean: Clean, made: Sequence[Float[Tensor, "n _"]]) -> dict[str, Float[Tensor, ""]]:
        """What is lost with these rows at the hooks that are written; differentiable in them."""
        batch, seen = clean.batch, {}
        hooks: list[tuple[str, Any]] = [
            (hook, replacing(batch.replaced, _instead(rows))) for hook, rows in zip(self.written, made, strict=True)
        ]
        hooks += [(hook, lambda value, hook: seen.update({hook.name: value})) for hook in self.downstream]
        if clean.output is not None:
            output = self.model.run_with_hooks(**batch.given, return_type="logits", fwd_hooks=hooks)
            counted = batch.counted_among(output)
            found = {"kl": kl_divergence(clean.output[counted], output[counted]).mean()}
        else:
            losses = self.model.run_with_hooks(
                **batch.given, **batch.targets, return_type="loss", loss_per_token=True, fwd_hooks=hooks
            )
            found = {"ce": losses[batch.counted_among(losses)].mean()}
        apart = [_unexplained(clean.rows[hook], self._rows(seen[hook], hook, batch)) for hook in self.downstream]
        return found | ({"downstream": torch.stack(apart).mean()} if apart else {})

    def _rows(self, value: Tensor, hook: str, batch: SubjectBatch) -> Float[Tensor, "n _"]:
        return value.movedim(pos_dim_of(self.model.hook_dict[hook]), 1)[batch.replaced].flatten(1)


class SequenceStream:
    """The numbers of sequences, batch by batch; each epoch has an order of its own, which follows from the seed."""

    def __init__(
        self, sequences: Int[np.ndarray, " n"], rows_each: float, batch_size: int, seed: int, start: Position
    ) -> None:
        self.sequences, self.batch_size, self.seed = sequences, batch_size, seed
        self.n_each = max(1, round(batch_size / rows_each))
        self._batches = start.batches

    @property
    def position(self) -> Position:
        """Where the next batch starts."""
        return Position(self._batches)

    def next_batch(self) -> Named:
        """As many sequences as have about `batch_size` rows."""
        numbers = self._batches * self.n_each + np.arange(self.n_each)
        self._batches += 1
        epochs, places = np.divmod(numbers, len(self.sequences))
        chosen = [self._order(epoch)[places[epochs == epoch]] for epoch in np.unique(epochs).tolist()]
        return {SEQUENCES: torch.from_numpy(np.concatenate(chosen))}

    def _order(self, epoch: int) -> Int[np.ndarray, " n"]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.sequences)


class EndToEndTrainer(Trainer):
    """A `Trainer` whose batches are sequences, and whose loss is the subject's."""

    def __init__(self, *args: Any, subject: Subject, settings: dict[str, Any]) -> None:
        super().__init__(*args, **settings)
        self.subject = subject
        self._clean: Clean | None = None

    def _measured(self, sample: Named) -> TrainingState:
        some = max(1, round(self.train_cfg.batch_size / self.subject.rows_each))
        parts = [self.subject.clean(part, with_output=False).rows for part in sample[SEQUENCES].split(some)]
        return super()._measured(joined(parts))

    def _scaled(self, batch: Named) -> tuple[Tensor, Tensor]:
        self._clean = self.subject.clean(batch[SEQUENCES])
        return super()._scaled(self._clean.rows)

    def _loss(self, x: Tensor, y: Tensor, step: TrainingStep) -> TrainingLoss:
        sae, cfg = self.sae, self.train_cfg
        assert self._clean is not None
        codes, penalties = sae.activate(x, y, step)
        with torch.no_grad():
            error = sae.reconstruct(x, y, codes.detach())
        terms = dict(penalties)
        if self.revive == "aux":
            aux = sae.auxiliary_loss(x, error.residual, step.dead, cfg.aux_latents(sae.cfg.width_out))
            terms["aux"] = cfg.aux_coefficient * aux
        terms = {name: term / step.variance for name, term in terms.items()}
        lost = [self.subject.spliced(self._clean, self._made(x, part)) for part in sae.nested(codes)]
        if not lost[0][self.subject.loss].requires_grad:
            raise ValueError(f"nothing that the model says hangs on {' and '.join(self.subject.written)}.")
        terms |= {name: torch.stack([part[name] for part in lost]).mean() for name in lost[0]}
        return TrainingLoss(
            total=torch.stack(list(terms.values())).sum(),
            squared_error=error.squared / len(x),
            terms={name: term.detach() for name, term in terms.items()},
            codes=codes.detach(),
        )

    def _made(self, x: Tensor, codes: Any) -> tuple[Tensor, ...]:
        """The reconstruction in the units of the activations, for each of the hooks that are written."""
        assert self.state is not None
        made = self.sae.decode_of(x, codes).flatten(1) / self.state.scale_out
        return self.sae.unflat(made).unbind(1) if self.cfg.n_layers is not None else (made,)


def _instead(rows: Float[Tensor, "n d"]) -> Any:
    def replace(_: Tensor, place: Place) -> Tensor:
        return rows

    return replace


def _unexplained(clean: Float[Tensor, "n d"], found: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """The share of the variance that is not there any more."""
    return (clean - found).square().sum() / (clean - clean.mean(0)).square().sum()


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """The subject in evaluation mode, its weights without gradients; all as it was afterwards."""
    training, wanted = model.training, [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        model.train(training)
        for parameter in wanted:
            parameter.requires_grad_(True)
