"""One forward pass of a subject, and what its hooks held at the positions that are wanted."""

import difflib
import inspect
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from models.dataset import Dataset
from models.evaluation import accepted
from models.step_hooks import StepHookPoint, pos_dim_of
from workbench.activations.shard_files import AXES

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
POSITIONS = {
    "real": "every real position but BOS",
    "last": "the last real position of each sequence",
    "bos": "every real position, BOS too",
}

Sequences = slice | Tensor


class Recorder:
    """Runs a subject over sequences of a dataset and lays the rows of its hooks into buffers.

    Args:
        model: a subject with TransformerLens's protocol (`hook_dict`, `run_with_hooks`).
        dataset: what it reads.
        hooks: names of hooks whose value is `[batch, pos, ...]`, or one; those that fire once a step are laid together.
        dtype: the buffers' number format, one of `DTYPES`.
        positions: which positions are recorded, one of `POSITIONS`.

    Raises:
        TypeError: the model has no hooks, or the dataset is none.
        ValueError: an unknown hook, dtype or choice of positions, no hook at all, a dataset without a position.
    """

    def __init__(
        self,
        model: Any,
        dataset: Dataset,
        hooks: str | Sequence[str],
        *,
        dtype: str = "float32",
        positions: str = "real",
    ) -> None:
        if not (hasattr(model, "hook_dict") and hasattr(model, "run_with_hooks")):
            raise TypeError(f"a {type(model).__name__} is no subject with hooks: `load_model(RUN)` gives a run's.")
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"a {type(dataset).__name__} is no `models.Dataset`: `Dataset(tokens)` makes one of tensors."
            )
        check_choices(dtype, positions)
        self.model, self.dataset, self.positions = model, dataset, positions
        self.hooks = list(dict.fromkeys([hooks] if isinstance(hooks, str) else hooks))
        _check_hooks(model, self.hooks)
        self.dtype = DTYPES[dtype]
        self.axis_of = {name: axis_of(model, name) for name in self.hooks}
        self.rows = {axis: dataset.on_axis(axis) for axis in AXES if axis in self.axis_of.values()}
        self.shapes: dict[str, list[int]] = {}
        if not len(dataset) or not any(n.sum() for n in self.counts.values()):
            raise ValueError("the dataset has no token to record.")

    @cached_property
    def counts(self) -> dict[str, Int[np.ndarray, " seq"]]:
        """How many rows each sequence gives, for each axis of positions."""
        return {axis: self._count(rows) for axis, rows in self.rows.items()}

    def _count(self, rows: Dataset) -> Int[np.ndarray, " seq"]:
        real = np.count_nonzero(rows.mask.numpy(), axis=1)  # torch would make the mask integers first
        if self.positions == "last":
            return np.minimum(real, 1)
        return real - (self.positions == "real" and rows.bos is not None)

    def kept(self, axis: str, sequences: Sequences) -> Bool[Tensor, "batch pos"]:
        """Which positions of some sequences are recorded."""
        rows = self.rows[axis]
        mask = rows.mask[sequences]
        if self.positions == "last":
            return mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1))
        if self.positions == "real" and rows.bos is not None:
            mask = mask.clone()
            mask[:, 0] = False
        return mask

    @torch.inference_mode()
    def record(
        self, sequences: Sequences, buffers: dict[str, Tensor], filled: dict[str, int], room: dict[str, int]
    ) -> dict[str, int]:
        """One forward pass: each hook's rows go into its buffer, made where there is none, behind those there.

        Args:
            sequences: which are read.
            buffers: for each hook `[room, d]`.
            filled: for each axis, how many rows of the buffers hold something.
            room: for each axis, how many rows the buffers shall have.

        Returns:
            For each axis, how many rows were added.

        Raises:
            FloatingPointError: a value is NaN or infinite, or does not fit into the number format.
        """
        kept = {axis: self.kept(axis, sequences) for axis in self.rows}
        chosen = {axis: rearrange(mask, "batch pos -> (batch pos)").nonzero()[:, 0] for axis, mask in kept.items()}

        def copy(value: Tensor, hook: Any) -> None:
            axis = self.axis_of[hook.name]
            value = value.movedim(pos_dim_of(hook), 1)  # a pattern is [head, key] for each query
            flat = rearrange(value, "batch pos ... -> (batch pos) (...)")
            if hook.name not in buffers:
                buffers[hook.name] = torch.empty(room[axis], flat.shape[1], dtype=self.dtype)
            self.shapes.setdefault(hook.name, list(value.shape[2:]))
            places = chosen[axis]
            target = buffers[hook.name][filled[axis] : filled[axis] + len(places)]
            target.copy_(flat.index_select(0, places.to(flat.device)))
            if not _all_finite(target):
                bad = (~torch.isfinite(target)).any(1).nonzero()[0, 0]
                self._refuse(hook.name, axis, sequences, int(places[bad]))

        given = {name: value.to(self._device) for name, value in self.dataset.batch(sequences).items()}
        given = {"input": given["input"]} | accepted(self.model, given)
        steps, collect = self._collecting()
        whole = [(name, copy) for name in self.hooks if not self._is_stepwise(name)]
        self.model.run_with_hooks(
            given.pop("input"), fwd_hooks=[*whole, *collect], return_type=None, **given, **self._stop
        )
        for name, value in steps.items():
            copy(value, self.model.hook_dict[name])
        return {axis: len(places) for axis, places in chosen.items()}

    @cached_property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def _stop(self) -> dict[str, int]:
        """What lies above the highest hook need not be computed."""
        layers = [re.match(r"blocks\.(\d+)\.", name) for name in self.hooks]
        if "stop_at_layer" not in inspect.signature(self.model.forward).parameters or not all(layers):
            return {}
        return {"stop_at_layer": 1 + max(int(m[1]) for m in layers if m)}

    def _is_stepwise(self, name: str) -> bool:
        return isinstance(self.model.hook_dict[name], StepHookPoint)

    def _collecting(self) -> tuple[dict[str, Tensor], list]:
        """Hooks that lay the steps of a recurrence side by side, and the dict they fill."""
        stepwise = [name for name in self.hooks if self._is_stepwise(name)]
        if not stepwise:
            return {}, []
        cache, forward, _ = self.model.get_caching_hooks(stepwise)
        return cache, forward

    def _refuse(self, hook: str, axis: str, sequences: Sequences, place: int) -> None:
        rows = self.rows[axis]
        row, pos = divmod(place, rows.tokens.shape[1])
        doc = self.dataset.doc_table["name"][int(self.dataset.docs[sequences][row])].as_py()
        raise FloatingPointError(
            f"{hook} is NaN, infinite or too large for {self.dtype} in document {doc} at position {pos}."
        )


def _all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite; the smallest and largest of all say it, an order of magnitude faster."""
    return not values.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())


def axis_of(model: Any, hook: str) -> str:
    """What a hook has rows for: positions of the `target`, as nearly all, of its `source`, or one a `sequence`."""
    return model.position_axis(hook) if hasattr(model, "position_axis") else "target"


def check_choices(dtype: str, positions: str) -> None:
    """Raises `ValueError` for a number format or a choice of positions that there is not."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}: it must be one of {', '.join(DTYPES)}.")
    if positions not in POSITIONS:
        raise ValueError(f"positions is {positions!r}: it must be one of {', '.join(POSITIONS)}.")


def _check_hooks(model: Any, hooks: list[str]) -> None:
    if not hooks:
        raise ValueError("no hook was named: name at least one, such as blocks.0.mlp.hook_post.")
    known = list(model.hook_dict)
    for name in hooks:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
            raise ValueError(f"the model has no hook {name!r}: did you mean {' or '.join(near)}?")
