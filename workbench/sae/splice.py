"""An SAE in the place of a subject's activations, as ordinary forward hooks; its latents ablated, clamped or steered.

    spliced = splice(model, sae, dataset, edits=[ablate_latents([3, 7]), steer(12, 4.0)])
    logits = model.run_with_hooks(dataset.tokens, fwd_hooks=spliced.hooks)

A hook reads the value that stands there in the same pass, so that in a recurrence every later step goes on from what
was put there. A transcoder reads at one hook and writes at another. A crosscoder reads all its layers before it writes
the first: its codes are those of a clean pass, and each of its hooks is given the layer that they make; what an
edit does to one layer reaches the others through the code alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.dataset import Dataset
from models.step_hooks import HookFunction, pos_dim_of
from workbench.activations.recorder import axis_of
from workbench.interventions.positions import Place, Positions, are_chosen, mask_of
from workbench.interventions.replacing import Replacement, replacing
from workbench.sae.base import SAE
from workbench.sae.codes import Codes, CSRCodes
from workbench.sae.subject_batch import SubjectBatch, hooks_of


@dataclass(frozen=True)
class LatentEdit:
    """A change of some latents' activations; made by `ablate_latents`, `clamp_latents` and `steer`.

    Attributes:
        latents: which ones.
        change: from their activations [n, latents] to others.
        at: where, among the positions that are spliced; all of them where None.
    """

    latents: tuple[int, ...]
    change: Callable[[Float[Tensor, "n latents"]], Float[Tensor, "n latents"]]
    at: Positions | None = None


def ablate_latents(latents: int | Sequence[int], at: Positions | None = None) -> LatentEdit:
    """Set latents to zero, at one position, at those of a mask [pos] or [batch, pos], or everywhere."""
    return LatentEdit((latents,) if isinstance(latents, int) else tuple(latents), torch.zeros_like, at)


def clamp_latents(values: Mapping[int, float], at: Positions | None = None) -> LatentEdit:
    """Set latents to given activations, whether they are active or not."""
    for latent, value in values.items():
        _refuse_not_finite(f"the activation of latent {latent}", value)

    def change(f: Float[Tensor, "n latents"]) -> Float[Tensor, "n latents"]:
        return f.new_tensor(list(values.values())).expand_as(f)

    return LatentEdit(tuple(values), change, at)


def steer(latent: int, strength: float, at: Positions | None = None) -> LatentEdit:
    """Add `strength` times the latent's decoder row, whether it is active or not."""
    _refuse_not_finite("strength", strength)
    return LatentEdit((latent,), lambda f: f + strength, at)


def _refuse_not_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}: it must be a finite number.")


def splice(
    model: Any,
    sae: SAE,
    dataset: Dataset,
    *,
    hook_name: str | None = None,
    at: Positions | None = None,
    edits: LatentEdit | Sequence[LatentEdit] = (),
    error_term: bool = False,
    gradients: bool = False,
) -> "Splice":
    """The hooks that put an SAE into a subject.

    Args:
        model: a hooked model, about to be run on the sequences of `dataset`.
        sae: what reconstructs; a transcoder and a crosscoder name their hooks themselves.
        dataset: what the model will be run on. BOS and padding are never replaced. What a subject goes on to
            say (`generate`) is replaced where `at` is None; a crosscoder, which has not read it, leaves it alone.
        hook_name: the hook; the SAE's own where None.
        at: the positions that are replaced: one of them, a mask [pos] or [batch, pos], or all where None.
        edits: a change of latents, or several, one after the other.
        error_term: add what the unedited reconstruction leaves out, as a constant: without edits nothing changes but
            that gradients flow through the codes alone.
        gradients: make the codes of a pass leaves of its graph, or keep their gradients, so that after `backward()`
            `splice.codes[…].values.grad` says what each active latent does.

    Raises:
        ValueError: no hook is known, the model has none of that name, or a latent or position is not there.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset is a {type(dataset).__name__}: give Dataset(tokens=…), of what the model is run on.")
    edits = (edits,) if isinstance(edits, LatentEdit) else edits
    read, written = hooks_of(sae.cfg, model, hook_name)
    batch = SubjectBatch.of(dataset, slice(None), model, read[0])
    where = batch.replaced if at is None else batch.replaced & mask_of(at, batch.replaced)
    spliced = Splice(sae, _known(edits, sae.cfg.d_sae, batch.replaced), error_term, gradients)
    new = ~dataset.on_axis(axis_of(model, read[0])).mask if at is None else None
    spliced.put(model, batch, read, written, where, new)
    return spliced


class Splice:
    """What `splice` makes.

    Attributes:
        hooks: pairs of name and function, for `fwd_hooks`.
        codes: what the SAE has read: one entry a pass, or, of a recurrence, a step; the rows of each in the order of
            sequences and positions, before any edit. It may be emptied.
    """

    def __init__(
        self, sae: SAE, edits: Sequence[LatentEdit] = (), error_term: bool = False, gradients: bool = False
    ) -> None:
        self.sae, self.edits, self.error_term, self.gradients = sae, edits, error_term, gradients
        self.hooks: list[tuple[str, HookFunction]] = []
        self.codes: list[Codes] = []
        self._read: Tensor | None = None

    def put(
        self,
        model: Any,
        batch: SubjectBatch,
        read: list[str],
        written: list[str],
        where: Bool[Tensor, "seq hook_pos"],
        new: Bool[Tensor, "seq hook_pos"] | None = None,
    ) -> None:
        """Make the hooks; for a crosscoder from a clean pass."""
        if self.sae.cfg.kind == "crosscoder":
            layers = torch.stack(clean_rows(model, batch.given, read, where), 1)
            made = self._rebuilt(layers, layers, Place(*where.nonzero(as_tuple=True)))
            self.hooks = [
                (name, replacing(where, _known_rows(rows, where)))
                for name, rows in zip(written, made.unbind(1), strict=True)
            ]
        elif self.sae.cfg.kind == "transcoder":
            self.hooks = [
                (read[0], replacing(where, self._remember, new)),
                (written[0], replacing(where, self._transcoded, new)),
            ]
        else:
            self.hooks = [(read[0], replacing(where, lambda x, place: self._rebuilt(x, x, place), new))]

    def _remember(self, x: Tensor, place: Place) -> Tensor:
        self._read = x
        return x

    def _transcoded(self, y: Tensor, place: Place) -> Tensor:
        if self._read is None:
            cfg = self.sae.cfg
            raise ValueError(f"{cfg.hook_name_out} comes before {cfg.hook_name}: nothing has been read to write it.")
        x, self._read = self._read, None
        return self._rebuilt(x, y, place)

    def _rebuilt(self, x: Tensor, y: Tensor, place: Place) -> Tensor:
        """What takes the place of y: made from x, edited, with the error where it is kept."""
        sae = self.sae
        x, y = x.to(sae.W_enc.dtype), y.to(sae.W_enc.dtype)
        codes = sae.encode_sparse(x)
        if self.gradients:
            codes = _with_gradients(codes)
        self.codes.append(codes)
        found = sae.decode_of(x, codes)
        made = found
        if self.edits:
            made = made + sae.unflat(self._changes(codes, place))
        return made + (y - found).detach() if self.error_term else made

    def _changes(self, codes: Codes, place: Place) -> Float[Tensor, "n width_out"]:
        """What the edits add to the reconstruction; only the latents that they name are touched."""
        named = sorted({latent for edit in self.edits for latent in edit.latents})
        latents = torch.tensor(named, dtype=torch.int64)
        latents = latents.to(self.sae.W_dec.device)
        f = before = columns_of(codes, latents, self.sae.cfg.d_sae)
        for edit in self.edits:
            which = torch.searchsorted(latents, latents.new_tensor(edit.latents))
            old = f[:, which]
            new = edit.change(old)
            if edit.at is not None:
                new = torch.where(are_chosen(edit.at, place).to(old.device)[:, None], new, old)
            f = f.index_copy(1, which, new)
        return (f - before) @ self.sae.W_dec[latents]


@torch.no_grad()
def clean_rows(
    model: Any, given: Mapping[str, Tensor], hooks: Sequence[str], where: Bool[Tensor, "seq pos"]
) -> list[Float[Tensor, "n _"]]:
    """What the hooks hold at some positions in a pass that nothing is done to, heads flattened."""
    _, cache = model.run_with_cache(**given, return_type=None, names_filter=list(hooks))
    return [cache[hook].movedim(pos_dim_of(model.hook_dict[hook]), 1)[where].flatten(1) for hook in hooks]


def columns_of(codes: Codes, latents: Int[Tensor, " m"], d_sae: int) -> Float[Tensor, "n m"]:
    """The activations of some latents, zeros written out; differentiable in the values."""
    entries = CSRCodes(codes.values.flatten(), codes.indices.flatten(), codes.row_starts)
    column = latents.new_full((d_sae,), -1).index_copy(0, latents, torch.arange(len(latents), device=latents.device))
    found = column[entries.indices]
    kept = found >= 0
    dense = codes.values.new_zeros(len(entries.row_starts) - 1, len(latents))
    return dense.index_put((entries.rows[kept], found[kept]), entries.values[kept])


def _with_gradients(codes: Codes) -> Codes:
    if codes.values.requires_grad:
        codes.values.retain_grad()
        return codes
    return codes._replace(values=codes.values.detach().requires_grad_())


def _known_rows(rows: Float[Tensor, "n d"], where: Bool[Tensor, "seq pos"]) -> Replacement:
    """Rows that were made before, each at its place."""
    number = torch.full(where.shape, -1)
    number[where] = torch.arange(len(rows))
    return lambda _, place: rows[number.to(rows.device)[place]]


def _known(edits: Sequence[LatentEdit], d_sae: int, where: Bool[Tensor, "seq pos"]) -> Sequence[LatentEdit]:
    """The edits, or `ValueError` where a latent or a position is not there."""
    for edit in edits:
        for latent in edit.latents:
            if not 0 <= latent < d_sae:
                raise ValueError(f"there is no latent {latent}: they are numbered 0 to {d_sae - 1}.")
        if edit.at is not None:
            mask_of(edit.at, where)
    return edits
