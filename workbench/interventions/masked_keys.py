"""Patterns and scores: which keys a query sees, and changes that are turned among these alone.

What is put elsewhere would let a query see what comes later, or padding.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.step_hooks import HookFunction, pos_dim_of


def by_query(model: Any, hook: str) -> bool:
    """Whether a hook's rows are of keys, one for each query."""
    return pos_dim_of(model.hook_dict[hook]) == 2


def unmasked(value: Tensor) -> Bool[Tensor, "..."]:
    """Of scores those that are no mask: −∞, or, in some models of the hub, the least number that there is."""
    return value > torch.finfo(value.dtype).min / 2


def noting_keys(model: Any, hook: str, visible: dict[str, Tensor]) -> list[tuple[str, HookFunction]]:
    """Hooks that note which `keys` each query may see, before what stands at a hook is edited; none at other hooks.

    In a pattern a key may have no weight though it is seen: the scores are asked.
    """
    if not by_query(model, hook):
        return []

    def note(value: Tensor, hook: Any) -> None:
        visible["keys"] = unmasked(value)

    prefix = hook.removesuffix("hook_pattern")
    scores = [prefix + of for of in ("hook_attn_scores", "hook_scores") if prefix + of in model.hook_dict]
    return [(scores[0] if scores else hook, note)]


def seen_in(clean: Tensor, corrupt: Tensor) -> Bool[Tensor, "..."]:
    """In two runs' patterns or scores, what is not masked in both."""
    return unmasked(clean) & unmasked(corrupt) & ((clean != 0) | (corrupt != 0))


def turned(
    x: Float[Tensor, "*any d"], edited: Float[Tensor, "*any d"], rotation: Float[Tensor, "d d"], by_query: bool
) -> Float[Tensor, "*any d"]:
    """Each row moved as far as it was edited, but elsewhere; of patterns and scores among the keys that are seen."""
    free = seen_in(x, edited) if by_query else x.isfinite() & edited.isfinite()
    change = torch.where(free, edited - x, 0)
    elsewhere = torch.where(free, change @ rotation.to(x), 0)
    size, length = (part.norm(dim=-1, keepdim=True) for part in (change, elsewhere))
    return x + elsewhere * (size / length.clamp_min(torch.finfo(length.dtype).tiny))


def slope_among(
    seen: Bool[Tensor, "*any d"],
    change: Float[Tensor, "*any d"],
    slope: Float[Tensor, "*any d"],
    rotation: Float[Tensor, "d d"],
    one_at_a_time: bool,
) -> Float[Tensor, "*any d"]:
    """The slopes along a change that is turned, but not into keys that the query does not see, and as long as before.

    Of units that are moved one at a time each is turned for itself.
    """
    elsewhere = torch.where(seen, slope, 0) @ rotation.T
    if one_at_a_time:
        return elsewhere / (seen.double() @ rotation.square().T).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    size = change.norm(dim=-1, keepdim=True)
    length = torch.where(seen, change @ rotation, 0).norm(dim=-1, keepdim=True)
    return elsewhere * (size / length.clamp_min(torch.finfo(length.dtype).tiny))
