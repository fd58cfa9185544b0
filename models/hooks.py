"""`HookedModel`, the base of every subject: hooks found by name, attached for a while, and cached."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.hook_points import HookPoint, LensHandle
from transformer_lens.utilities import Slice

from models.step_hooks import StepHookPoint, StepRecorder, pos_dim_of

Direction = Literal["fwd", "bwd"]
NamesFilter = str | Iterable[str] | Callable[[str], bool] | None


def attached(*points: HookPoint) -> bool:
    """Whether anything, forward or backward, is attached to one of the points."""
    return any(point.fwd_hooks or point.bwd_hooks for point in points)


class HookedModel(HookedRootModule):
    """A module whose inner values can be read and edited by name.

    TransformerLens's `HookedRootModule` with three differences: an unknown hook name is an error, a context
    removes exactly the hooks it added (whatever anybody else attached stays), and `run_with_cache` returns an
    `ActivationCache`, in which a hook that fires once a time step is one tensor `[batch, pos, …]`. Call `setup()`
    last in `__init__`. A hook point's `pos_dim` names the axis that counts
    positions, where it is not axis 1.

    Attributes:
        cfg: what the subject is; it has `to_dict()`, `d_vocab` and `n_ctx`.
        tokenizer: what makes its tokens of text, where there is one.
        artifact_id: the id of the artifact it was saved as or loaded from.
        bos: the id of the token that its sequences start with.
        weights_elsewhere: whether its config alone is saved, which refers to weights that somebody else keeps.
    """

    cfg: Any
    tokenizer: Tokenizer | None = None
    artifact_id: str | None = None
    bos: int = 0
    weights_elsewhere: bool = False

    def init_weights(self, seed: int) -> None:
        """Draw all weights anew; a seed gives the same ones on every device."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            # PyTorch's own layers draw from the global generator and take no other: ours around them do the drawing.
            ours = not type(module).__module__.startswith("torch.")
            if ours and callable(reset := getattr(module, "reset_parameters", None)):
                reset(generator)

    def _apply(self, fn: Callable, recurse: bool = True) -> "HookedModel":
        # `.to()`, `.cuda()`, `.double()` all pass here; TransformerLens's tools read both from the config.
        super()._apply(fn, recurse)
        weight = next(self.parameters(), None)
        if weight is not None and hasattr(self, "cfg"):
            self.cfg.device, self.cfg.dtype = str(weight.device), weight.dtype
        return self

    def gated_hooks(self) -> set[str]:
        """Hook points that a full cache leaves out; they fire only when something is attached to them by name."""
        return set()

    def match_hooks(self, names_filter: NamesFilter) -> list[str]:
        """The names of the hook points meant, in the order in which the model defines them.

        Args:
            names_filter: a name, several names, a predicate on names, or None for all but `gated_hooks()`.

        Raises:
            ValueError: a name is unknown, or nothing matches.
        """
        if names_filter is None:
            gated = self.gated_hooks()
            return [name for name in self.hook_dict if name not in gated]
        if callable(names_filter):
            found = [name for name in self.hook_dict if names_filter(name)]
        else:
            wanted = {names_filter} if isinstance(names_filter, str) else set(names_filter)
            for name in sorted(wanted - self.hook_dict.keys()):
                raise ValueError(self._unknown(name))
            found = [name for name in self.hook_dict if name in wanted]
        if not found:
            raise ValueError(f"names_filter matches none of this model's {len(self.hook_dict)} hooks.")
        return found

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.hook_dict, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(list(self.hook_dict)[:3])}, …"
        return f"this model has no hook named {name!r}: {hint}"

    def add_hook(
        self,
        name: str | Callable[[str], bool],
        hook: Callable,
        dir: Direction = "fwd",
        is_permanent: bool = False,
        level: int | None = None,
        prepend: bool = False,
    ) -> None:
        """Attach `hook(value, hook=point)` to the named points until it is removed.

        Raises:
            ValueError: no hook has that name, or the predicate matches none.
        """
        for found in self.match_hooks(name):
            point = self.hook_dict[found]
            self.check_and_add_hook(point, found, hook, dir, is_permanent, level, prepend)

    @contextmanager
    def hooks(
        self,
        fwd_hooks: Iterable[tuple[str | Callable[[str], bool], Callable]] = (),
        bwd_hooks: Iterable[tuple[str | Callable[[str], bool], Callable]] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
    ) -> Iterator["HookedModel"]:
        """Attach hooks for the length of a `with` block; an exception inside it leaves none behind.

        Args:
            fwd_hooks: pairs of a name (or a predicate on names) and `fn(value, hook)`, whose result replaces the
                value unless it is None.
            bwd_hooks: the same for gradients.
            reset_hooks_end: False leaves the hooks attached.
            clear_contexts: also empty every hook point's `ctx` at the end.

        Raises:
            ValueError: a name is unknown; nothing has been attached then.
        """
        wanted: list[tuple[HookPoint, Callable, Direction]] = []
        pairs: list[tuple[Direction, Iterable]] = [("fwd", fwd_hooks), ("bwd", bwd_hooks)]
        for direction, hooks in pairs:
            wanted += [(self.hook_dict[n], hook, direction) for target, hook in hooks for n in self.match_hooks(target)]
        added: list[tuple[HookPoint, LensHandle]] = []
        self.context_level += 1
        try:
            for point, hook, direction in wanted:
                added.append((point, point.add_hook(hook, dir=direction, level=self.context_level)))
            yield self
        finally:
            self.context_level -= 1
            if reset_hooks_end:
                for point, handle in added:
                    _detach(point, handle)
                if clear_contexts:
                    self.clear_contexts()

    def run_with_cache(  # type: ignore[override]
        self,
        *model_args: Any,
        names_filter: NamesFilter = None,
        device: str | torch.device | None = None,
        remove_batch_dim: bool = False,
        incl_bwd: bool = False,
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
        pos_slice: Any = None,
        return_cache_object: bool = True,
        **model_kwargs: Any,
    ) -> tuple[Any, Any]:
        """Run the model once and keep what passes through the named hook points.

        Args:
            *model_args: what `forward` takes; `**model_kwargs` too (`stop_at_layer`, `return_type`, …).
            names_filter: a name, several names, or a predicate; None keeps all but `gated_hooks()`.
            device: where the kept values go; None leaves them where they are.
            remove_batch_dim: drop the leading axis, which must be 1.
            incl_bwd: also call `backward` on the output, a scalar, and keep gradients as `NAME_grad`; as always,
                `backward` adds to the parameters' `.grad`.
            reset_hooks_end: False leaves the caching hooks attached.
            clear_contexts: empty every hook point's `ctx` at the end.
            pos_slice: positions to keep: an index, `(start, stop)`, a list, or a TransformerLens `Slice`.
            return_cache_object: False returns a plain dict, which holds no reference to the model.

        Returns:
            The model's output, and an `ActivationCache` (or dict) of detached tensors.

        Raises:
            ValueError: nothing matches `names_filter`, the batch is not of one, or `incl_bwd` finds no scalar.
        """
        if incl_bwd and not torch.is_grad_enabled():
            raise ValueError("incl_bwd needs gradients, but they are switched off here.")
        cache, forward, backward = self.get_caching_hooks(
            names_filter, incl_bwd, device, remove_batch_dim=remove_batch_dim, pos_slice=pos_slice
        )
        with self.hooks(forward, backward, reset_hooks_end, clear_contexts):
            output = self(*model_args, **model_kwargs)
            if incl_bwd:
                if not isinstance(output, Tensor) or output.numel() != 1:
                    raise ValueError('incl_bwd needs an output that is one number: pass return_type="loss".')
                output.backward()
        if not return_cache_object:
            return output, cache
        return output, ActivationCache(cache, self, has_batch_dim=not remove_batch_dim)

    def get_caching_hooks(  # type: ignore[override]
        self,
        names_filter: NamesFilter = None,
        incl_bwd: bool = False,
        device: str | torch.device | None = None,
        remove_batch_dim: bool = False,
        cache: dict[str, Tensor] | None = None,
        pos_slice: Any = None,
    ) -> tuple[dict[str, Tensor], list, list]:
        """Hooks that fill a dict as the model runs, not yet attached: `(cache, fwd_hooks, bwd_hooks)`."""
        cache = {} if cache is None else cache
        names = self.match_hooks(names_filter)
        where = Slice.unwrap(pos_slice)
        save = _saver(cache, where, device, remove_batch_dim, "")
        backward = [(n, _saver(cache, where, device, remove_batch_dim, "_grad")) for n in names] if incl_bwd else []
        return cache, [(name, save) for name in names], backward

    def add_caching_hooks(  # type: ignore[override]
        self,
        names_filter: NamesFilter = None,
        incl_bwd: bool = False,
        device: str | torch.device | None = None,
        remove_batch_dim: bool = False,
        cache: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Attach hooks that fill the returned dict on every run, until `reset_hooks()`."""
        cache, forward, backward = self.get_caching_hooks(names_filter, incl_bwd, device, remove_batch_dim, cache)
        for name, hook in forward:
            self.hook_dict[name].add_hook(hook, "fwd")
        for name, hook in backward:
            self.hook_dict[name].add_hook(hook, "bwd")
        return cache


def _detach(point: HookPoint, handle: LensHandle) -> None:
    handle.hook.remove()
    point.fwd_hooks = [h for h in point.fwd_hooks if h is not handle]
    point.bwd_hooks = [h for h in point.bwd_hooks if h is not handle]


def _saver(
    cache: dict[str, Tensor], where: Slice, device: Any, remove_batch_dim: bool, suffix: str
) -> Callable[..., None]:
    steps = StepRecorder(cache, where, device, remove_batch_dim, suffix)

    def save(value: Tensor, hook: HookPoint) -> None:
        kept = value.detach()
        if remove_batch_dim and len(kept) != 1:
            raise ValueError(f"remove_batch_dim needs a batch of one, but this one has {len(kept)} rows.")
        if isinstance(hook, StepHookPoint):
            steps.record(kept, hook)
            return
        if where.mode != "identity":
            kept = where.apply(kept, dim=pos_dim_of(hook))
        kept = kept[0] if remove_batch_dim else kept
        # A view would keep the whole tensor behind it alive: queries, say, the keys and values beside them.
        if kept.untyped_storage().nbytes() > kept.nbytes:
            kept = kept.clone()
        cache[f"{hook.name}{suffix}"] = kept.to(device)

    return save
