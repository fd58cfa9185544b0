"""A subject's attention patterns, one layer of one batch at a time: no two of them are ever held together."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import accepted, as_evaluated
from models.progress import progress
from models.step_hooks import StepHookPoint
from workbench.activations.recorder import axis_of
from workbench.interventions.hook_parts import layer_of

PATTERN = "hook_pattern"


class PatternHook(NamedTuple):
    """Where a subject's attention is.

    Attributes:
        name: of the hook, whose value is [batch, head, query, key].
        layer: which of its layers; None where it has one attention for all of them.
        queries, keys: whose positions these are, `target` or `source`.
    """

    name: str
    layer: int | None
    queries: str
    keys: str

    @property
    def is_cross(self) -> bool:
        """Whether it looks at other positions than its own."""
        return self.queries != self.keys

    @property
    def is_causal(self) -> bool:
        """Whether no query looks at a later key."""
        return self.queries == self.keys == "target"


Reader = Callable[[PatternHook, Tensor, range], None]


def pattern_hooks(model: Any, hooks: str | Iterable[str] | None = None) -> list[PatternHook]:
    """The attention patterns of a subject, or those named.

    Raises:
        ValueError: it has none, or a name is not one of them.
    """
    there = [name for name in model.hook_dict if name.endswith(PATTERN)]
    if not there:
        raise ValueError(f"a {type(model).__name__} like this has no attention: none of its hooks is a {PATTERN}.")
    wanted = there if hooks is None else model.match_hooks([hooks] if isinstance(hooks, str) else list(hooks))
    for name in wanted:
        if name not in there:
            raise ValueError(f"{name} holds no attention pattern: there are {', '.join(there[:3])}.")
    return [_described(model, name) for name in wanted]


def _described(model: Any, name: str) -> PatternHook:
    keys_hook = name.removesuffix(PATTERN) + "hook_k"
    queries = keys = axis_of(model, name)
    if keys_hook in model.hook_dict:
        keys = axis_of(model, keys_hook)
    elif hasattr(model, "position_axis"):
        keys = "source"  # without keys of its own: a recurrent decoder's attention to its source
    return PatternHook(name, layer_of(name), queries, keys)


@torch.inference_mode()
def stream_patterns(
    model: Any,
    data: Dataset,
    hooks: list[PatternHook],
    read: Reader,
    *,
    also: Iterable[tuple[str, Callable]] = (),
    batch_size: int = 16,
    desc: str = "attention",
) -> None:
    """Run a subject on all sequences and show each pattern to `read(hook, pattern, sequences)`, which must not edit it.

    Args:
        model: the subject; it is run in evaluation mode, and left in the mode that it was in.
        data: its sequences.
        hooks: whose patterns.
        read: is shown each pattern [batch, head, query, key] with the numbers of its sequences.
        also: further hooks `(name, fn)` of the same passes.
        batch_size: sequences a pass, which bounds the memory.
        desc: what the progress bar says.

    Raises:
        ValueError: there are no sequences, or batch_size is not at least 1.
    """
    whole_number(batch_size, "batch_size", least=1)
    if not len(data):
        raise ValueError("there are no sequences to look at.")
    with as_evaluated(model):
        for start in progress(range(0, len(data), batch_size), desc=desc, unit="pass"):
            rows = range(start, min(start + batch_size, len(data)))
            _one_pass(model, data, hooks, read, list(also), rows)


def _one_pass(
    model: Any, data: Dataset, hooks: list[PatternHook], read: Reader, also: list[tuple[str, Callable]], rows: range
) -> None:
    def reading(described: PatternHook) -> Callable[..., None]:
        return lambda value, hook: read(described, value, rows)

    stepwise = [hook for hook in hooks if isinstance(model.hook_dict[hook.name], StepHookPoint)]
    whole = [(hook.name, reading(hook)) for hook in hooks if hook not in stepwise]
    steps: dict[str, Tensor] = {}
    collect: list = []
    if stepwise:
        steps, collect, _ = model.get_caching_hooks([hook.name for hook in stepwise])
    batch = data.batch(slice(rows.start, rows.stop))
    with model.hooks(fwd_hooks=[*whole, *collect, *also]):
        model(**accepted(model, batch), return_type=None)
    for hook in stepwise:
        read(hook, steps[hook.name], rows)
