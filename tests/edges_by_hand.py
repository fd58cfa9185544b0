"""Edges of a compiled transformer cut by plain hooks: the oracle of what ablates edges many at once."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from torch import Tensor
from transformer_lens.hook_points import HookPoint

from models.compiled import Edge


def removing(edges: Iterable[Edge]) -> list[tuple[str, Callable[..., Tensor | None]]]:
    """Forward hooks that cut edges: each receiver reads the stream less what these senders write (zero ablation)."""
    cut: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        cut[edge.receiver.hook].append(edge)
    written: dict[str, Tensor] = {}

    def note(value: Tensor, hook: HookPoint) -> None:
        written[str(hook.name)] = value

    def subtract(value: Tensor, hook: HookPoint) -> Tensor:
        value = value.clone()
        for sender, receiver in cut[str(hook.name)]:
            whole = written[sender.hook]
            part = whole if sender.head is None else whole[:, :, sender.head]
            if receiver.head is None:
                value -= part
            else:
                value[:, :, receiver.head] -= part
        return value

    senders = sorted({edge.sender.hook for parts in cut.values() for edge in parts})
    return [(name, note) for name in senders] + [(name, subtract) for name in cut]
