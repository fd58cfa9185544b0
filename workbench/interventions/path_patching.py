"""`path_patching`: what one component's write does to one reader of the stream, and to nobody else directly.

Wang et al. 2022 ("Interpretability in the wild", arXiv 2211.00593); Goldowsky-Dill et al. 2023 ("Localizing model
behavior with path patching", arXiv 2304.05969).
"""

import operator
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, get_args

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.compiled import Node
from models.dataset import Dataset
from models.normalization import LayerNorm
from models.step_hooks import HookFunction
from models.transformer import Transformer
from workbench.interventions.controls import random_rotation
from workbench.interventions.hook_parts import as_table, named, refuse_outside, touchable
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.metrics import Metric, restored
from workbench.interventions.pairs import Given, aligned, batch_of
from workbench.interventions.passes import Hooks, measure_jobs, refuse_unusable
from workbench.interventions.positions import Positions
from workbench.interventions.values import values_at

Norm = Literal["recomputed", "frozen"]
Stream = Float[Tensor, "batch pos d_model"]
PATCH, DIRECTION = "patch", "random direction"
PATH_COLUMNS = (
    *("sender", "receiver", "norm", "variant", "seed", "value", "low", "high"),
    *("effect", "effect_low", "effect_high", "clean", "corrupt", "sequences"),
)
_WRITES = r"hook_embed|hook_pos_embed|blocks\.(\d+)\.(attn\.hook_result|hook_attn_out|hook_mlp_out)"
_READS = r"blocks\.(\d+)\.(attn\.hook_[qkv]_input|hook_mlp_in|hook_resid_post)"
_TURN = {"hook_attn_out": 1, "attn.hook_result": 1, "hook_mlp_in": 2, "hook_mlp_out": 3, "hook_resid_post": 4}


def path_patching(
    model: Any,
    clean: Given,
    corrupt: Given,
    metric: Metric,
    senders: Sequence[str | tuple],
    receivers: Sequence[str | tuple],
    *,
    norm: Norm = "recomputed",
    positions: Positions | None = None,
    bos: bool = False,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Run the corrupt sequences with each receiver reading what each sender writes in the clean ones.

    The receiver reads the corrupt run's stream plus (clean − corrupt) of the sender's write: the path between them that
    goes through nothing else. What follows from what the receiver then makes of it is computed.

    Args:
        model: a decoder-only `Transformer`.
        clean, corrupt: sequences, aligned position by position.
        metric: `metric(output)` or `metric(output, batch)`, one number a sequence; the batch is always the clean one,
            which says what is asked.
        senders: `hook_embed`, `hook_pos_embed`, heads `("blocks.0.attn.hook_result", 3)`, a layer's `hook_attn_out` or
            `hook_mlp_out`; as text, or as `models.compiled.Node`.
        receivers: a head's `("blocks.1.attn.hook_q_input", 0)`, `hook_k_input` or `hook_v_input`, a layer's
            `hook_mlp_in`, and the last `hook_resid_post`, for what is unembedded.
        norm: what the receiver's norm divides by: the scale `recomputed` of what it now reads, or `frozen` at the
            corrupt run's, so that what it reads is linear in what senders write. Without norms they are the same.
        positions: those whose writes are patched, by number or as a mask; all real ones where None.
        bos: whether BOS is patched too.
        n_controls: random directions for each line.
        batch_size: sequences a pass, whichever paths are patched.
        seed: of the first control, and of the intervals.

    Returns:
        A line for each sender, receiver (`HOOK[HEAD]`) and `variant`: `patch`, and `random direction`, where what the
        sender writes differs as much but is turned by a rotation drawn by `seed`. `value` is the metric's mean,
        `effect` the share of the gap between `corrupt` (0) and `clean` (1), with intervals (95%, over documents, the
        gap held). Where the receiver does not come after the sender nothing can change, and nothing is run.

    Raises:
        ValueError: the subject is no such transformer, something is no sender or receiver of it, the sequences are not
            aligned, or the metric has no gap between them or does not give one finite number a sequence.
    """
    clean, corrupt = aligned(clean, corrupt)
    refuse_unusable(metric, n_controls=n_controls, batch_size=batch_size, seed=seed)
    if not isinstance(model, Transformer):
        raise ValueError(f"a {type(model).__name__} has no paths of this kind: give a decoder-only Transformer.")
    if norm not in get_args(Norm):
        raise ValueError(f"norm is {norm!r}: it must be 'recomputed' or 'frozen'.")
    ends = _nodes(model, senders, _WRITES, "sender"), _nodes(model, receivers, _READS, "receiver")
    where = touchable(model, corrupt, "hook_embed", positions, bos)
    seeds: list[int | None] = [None, *range(seed, seed + n_controls)]
    lines = [(sender, receiver, s) for sender in ends[0] for receiver in ends[1] for s in seeds]
    able = [i for i, (sender, receiver, _) in enumerate(lines) if _turn(sender) < _turn(receiver)]
    before = torch.cat(
        [
            measure_jobs(model, data, metric, 1, lambda *_: [], asked=clean, batch_size=batch_size)
            for data in (clean, corrupt)
        ]
    )
    restored(before[1], before[0], before[1])  # refuses where there is no gap
    values = before[1].repeat(len(lines), 1)
    if able:
        paths = _Paths(model, (clean, corrupt), where, norm, [lines[i] for i in able])
        values[able] = measure_jobs(
            model, corrupt, metric, len(able), paths.hooks, asked=clean, batch_size=batch_size, desc="path patching"
        )
    return _table(lines, values, before, norm, clean.docs.numpy(), seed)


def _nodes(model: Transformer, places: Sequence[str | tuple], known: str, what: str) -> list[Node]:
    if not places:
        raise ValueError(f"no {what} was named: name at least one.")
    nodes = [_node(place) for place in places]
    for node in nodes:
        model.match_hooks(node.hook)
        last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
        if not re.fullmatch(known, node.hook) or (node.hook.endswith("resid_post") and node.hook != last):
            raise ValueError(
                f"{node.hook} is no {what}: senders are hook_embed, hook_pos_embed, attn.hook_result, hook_attn_out "
                f"and hook_mlp_out, receivers attn.hook_{{q,k,v}}_input, hook_mlp_in and {last}."
            )
        of_heads = ".attn." in node.hook
        if of_heads and node.head is None:
            raise ValueError(f"{node.hook} has {model.cfg.n_heads} heads: say which, as ({node.hook!r}, 0).")
        if node.head is not None:
            if not of_heads:
                raise ValueError(f"{node.hook} has no heads: name it alone.")
            refuse_outside(node.hook, "head", model.cfg.n_heads, [node.head])
    return nodes


def _node(place: str | tuple) -> Node:
    hook, *of = (place,) if isinstance(place, str) else place
    try:
        return Node(hook, *(None if head is None else operator.index(head) for head in of))
    except TypeError:
        raise ValueError(f"{place!r} is no sender or receiver: name a hook, or (hook, head).") from None


def _turn(node: Node) -> tuple[int, int]:
    """When a node writes or reads."""
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", node.hook)
    return (-1, 0) if found is None else (int(found[1]), _TURN.get(found[2], 0))


class _Paths:
    """Hooks of passes in which some sequences are under some paths, `[path · seq, …]`."""

    def __init__(
        self,
        model: Transformer,
        pair: tuple[Dataset, Dataset],
        where: Bool[Tensor, "seq pos"],
        norm: Norm,
        paths: Sequence[tuple[Node, Node, int | None]],
    ) -> None:
        self.model, self.pair, self.where, self.norm, self.paths = model, pair, where, norm, paths
        self.rotation = cache(random_rotation)
        self.wanted = sorted({_held_at(sender) for sender, _, _ in paths})
        self.last: tuple[Tensor, dict[str, Tensor]] | None = None

    def hooks(self, numbers: Sequence[int], seq: Int[Tensor, " chosen"]) -> Hooks:
        """The forward hooks of a pass."""
        if self.last is None or not self.last[0].equal(seq):
            clean, corrupt = (values_at(self.model, batch_of(data, seq), self.wanted) for data in self.pair)
            self.last = seq, {name: clean[name] - corrupt[name] for name in self.wanted}
        change: dict[Node, dict[int, Stream]] = {}
        for row, number in enumerate(numbers):
            sender, receiver, turned = self.paths[number]
            change.setdefault(receiver, {})[row] = self._write(sender, turned, seq)
        by_hook: dict[str, dict[Node, dict[int, Stream]]] = {}
        for receiver, rows in change.items():
            by_hook.setdefault(receiver.hook, {})[receiver] = rows
        return [hook for name, nodes in by_hook.items() for hook in self._reading(name, nodes, len(numbers))]

    def _write(self, sender: Node, seed: int | None, seq: Int[Tensor, " chosen"]) -> Stream:
        """By how much what the sender writes differs, where that is patched."""
        assert self.last is not None
        change = self.last[1][_held_at(sender)]
        if sender.head is not None:
            layer = _turn(sender)[0]
            change = change[:, :, sender.head] @ self.model.blocks[layer].attn.W_O[sender.head]
        change = change * self.where[seq, :, None].to(change)
        return change if seed is None else change @ self.rotation(change.shape[-1], seed).to(change)

    def _reading(self, name: str, nodes: Mapping[Node, Mapping[int, Stream]], n_paths: int) -> Hooks:
        """Hooks that let receivers at one hook read more than there is."""
        layer, _ = _turn(next(iter(nodes)))
        block = self.model.blocks[layer]
        at = f"blocks.{layer}."
        if ".attn." in name:
            letter = name.removesuffix("_input")[-1]
            return self._reading_heads(at, block, letter, nodes, n_paths)
        ((_, rows),) = nodes.items()
        norm, of_norm = (block.ln2, f"{at}ln2") if name.endswith("mlp_in") else (self.model.ln_final, "ln_final")
        if self.norm == "recomputed" or not isinstance(norm, LayerNorm):
            return [(name, _adding(rows, n_paths))]
        scale: dict[str, Tensor] = {}

        def note(value: Tensor, hook: Any) -> None:
            scale["is"] = value

        def add(value: Tensor, hook: Any) -> Tensor:
            parts = value.unflatten(0, (n_paths, -1)).clone()
            scales = scale["is"].unflatten(0, (n_paths, -1))
            for row, change in rows.items():
                parts[row] += _centred(change, norm) / scales[row]
            return parts.flatten(0, 1)

        return [(f"{of_norm}.hook_scale", note), (f"{of_norm}.hook_normalized", add)]

    def _reading_heads(
        self, at: str, block: Any, letter: str, nodes: Mapping[Node, Mapping[int, Stream]], n_paths: int
    ) -> Hooks:
        """Queries, keys or values made anew of what one head reads: cheaper than a stream for each head."""
        weight, bias = (getattr(block.attn, f"{kind}_{letter.upper()}") for kind in "Wb")
        norm, held = block.ln1, {}

        def note(value: Tensor, hook: Any) -> None:
            held["stream"] = value.unflatten(0, (n_paths, -1))

        def project(value: Tensor, hook: Any) -> Tensor:
            parts = value.unflatten(0, (n_paths, -1)).clone()
            for (_, head), rows in nodes.items():
                for row, change in rows.items():
                    read = self._read(held["stream"][row], change, norm)
                    parts[row][:, :, head] = read @ weight[head] + bias[head]
            return parts.flatten(0, 1)

        return [(f"{at}hook_resid_pre", note), (f"{at}attn.hook_{letter}", project)]

    def _read(self, stream: Stream, change: Stream, norm: Any) -> Stream:
        """The stream and a change as the norm lets them through."""
        if not isinstance(norm, LayerNorm):
            return stream + change
        if self.norm == "recomputed":
            return norm.fused(stream + change)
        centred = _centred(stream, norm)
        more = _centred(change, norm) / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        return norm.fused(stream) + (more if norm.w is None else more * norm.w)


def _held_at(sender: Node) -> str:
    """Where what a sender writes is made: of a head, before its weights."""
    return sender.hook.replace("hook_result", "hook_z")


def _centred(x: Stream, norm: LayerNorm) -> Stream:
    return x - x.mean(-1, keepdim=True) if norm.centred else x


def _adding(rows: Mapping[int, Stream], n_paths: int) -> HookFunction:
    def add(value: Tensor, hook: Any) -> Tensor:
        parts = value.unflatten(0, (n_paths, -1)).clone()
        for row, change in rows.items():
            parts[row] += change
        return parts.flatten(0, 1)

    return add


def _table(
    lines: Sequence[tuple[Node, Node, int | None]],
    values: Float[Tensor, "line seq"],
    before: Float[Tensor, "2 seq"],
    norm: str,
    docs: Any,
    seed: int,
) -> pd.DataFrame:
    clean, corrupt = before.mean(1).tolist()
    share = (values - before[1]) / (clean - corrupt)
    value, effect = (mean_over_documents(x.numpy(), docs, seed=seed) for x in (values, share))
    rows = []
    for i, (sender, receiver, s) in enumerate(lines):
        about: dict[str, Any] = {"sender": named(sender), "receiver": named(receiver), "norm": norm}
        about |= {"variant": PATCH if s is None else DIRECTION, "seed": s}
        numbers = {"value": value.value[i], "low": value.low[i], "high": value.high[i]}
        numbers |= {"effect": effect.value[i], "effect_low": effect.low[i], "effect_high": effect.high[i]}
        rows.append(about | numbers | {"clean": clean, "corrupt": corrupt, "sequences": values.shape[1]})
    return as_table(rows, PATH_COLUMNS)
