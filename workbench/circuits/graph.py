"""`Graph`: a transformer as senders that write to the residual stream, receivers that read it, and edges between them.

Elhage et al. 2021, "A mathematical framework for transformer circuits"; the granularity is that of Conmy et al. 2023,
arXiv 2304.14997. Embeddings, heads and MLPs write; each head's queries, keys and values, each MLP and the unembedding
read.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.compiled import Edge, Node
from models.transformer import Transformer
from workbench.interventions.hook_parts import named

# Some of a graph's edges: themselves, pairs of names as tables have them (`SENDER`, `RECEIVER`), or a table's lines.
Edges: TypeAlias = Iterable[Edge | tuple[str, str] | list[str]] | pd.DataFrame

# What tells one search's lines from another's: those of several together are no one's circuit.
ONE_OF_EACH = ("ablation", "threshold", "steps", "variant", "seed")


class Block(NamedTuple):
    """All edges from one hook to another.

    Attributes:
        sender, receiver: the hooks.
        numbers: which edges of the graph they are, by the receiver's head and the sender's; 1 where a hook has none.
    """

    sender: str
    receiver: str
    numbers: Int[Tensor, "receivers senders"]


@dataclass(frozen=True)
class Graph:
    """What there is to cut in a decoder-only transformer.

    What a layer of heads adds whatever they do (`b_O`) is nobody's write, and is never cut.

    Attributes:
        senders: `hook_embed`, `hook_pos_embed` where positions are embedded, each head of `attn.hook_result`, each
            `hook_mlp_out`; in the order in which they write.
        receivers: each head of `attn.hook_{q,k,v}_input`, each `hook_mlp_in`, and last the last `hook_resid_post`.
        edges: from every sender to every receiver after it, by receiver; in the order of the layers.
    """

    senders: tuple[Node, ...]
    receivers: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, model: Any) -> "Graph":
        """A transformer's graph.

        Raises:
            ValueError: it is no decoder-only transformer of ours.
        """
        if not isinstance(model, Transformer):
            raise ValueError(f"a {type(model).__name__} has no graph of edges here: give a decoder-only Transformer.")
        senders = [Node(name) for name in ("hook_embed", "hook_pos_embed") if name in model.hook_dict]
        receivers: list[Node] = []
        edges: list[Edge] = []

        def read_by(nodes: list[Node]) -> None:
            receivers.extend(nodes)
            edges.extend(Edge(sender, node) for node in nodes for sender in senders)

        heads = range(model.cfg.n_heads)
        for layer in range(model.cfg.n_layers):
            block = f"blocks.{layer}"
            read_by([Node(f"{block}.attn.hook_{letter}_input", head) for head in heads for letter in "qkv"])
            senders += [Node(f"{block}.attn.hook_result", head) for head in heads]
            if not model.cfg.attn_only:
                read_by([Node(f"{block}.hook_mlp_in")])
                senders.append(Node(f"{block}.hook_mlp_out"))
        read_by([Node(f"{block}.hook_resid_post")])
        return cls(tuple(senders), tuple(receivers), tuple(edges))

    @cached_property
    def number(self) -> dict[Edge, int]:
        """Of each edge its place among `edges`."""
        return {edge: i for i, edge in enumerate(self.edges)}

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The edges by pairs of hooks."""
        grids: dict[tuple[str, str], dict[tuple[int, int], int]] = {}
        for (sender, receiver), number in self.number.items():
            grid = grids.setdefault((sender.hook, receiver.hook), {})
            grid[receiver.head or 0, sender.head or 0] = number
        found = []
        for (sender_hook, receiver_hook), grid in grids.items():
            rows, columns = (max(place) + 1 for place in zip(*grid, strict=True))
            numbers = torch.tensor([[grid[i, j] for j in range(columns)] for i in range(rows)])
            found.append(Block(sender_hook, receiver_hook, numbers))
        return tuple(found)

    @property
    def sending_hooks(self) -> list[str]:
        """The hooks at which the senders write, in their order."""
        return list(dict.fromkeys(node.hook for node in self.senders))

    @cached_property
    def by_name(self) -> dict[tuple[str, str], Edge]:
        """The edges by what tables call their ends."""
        return {(named(edge.sender), named(edge.receiver)): edge for edge in self.edges}

    def named_edges(self, edges: Edges, what: str = "the circuit") -> list[Edge]:
        """Some of the edges, each once, in the order given.

        Args:
            edges: as `Edge`, as pairs of names, or a table's lines with `sender` and `receiver`, of one search: such as
                `table[table["kept"] & (table["variant"] == "acdc")]`.
            what: what they are called where they are none.

        Raises:
            ValueError: one is not in the graph, there are none, or a table has lines of several searches or of edges
                that were not kept.
        """
        pairs = _pairs_of(edges) if isinstance(edges, pd.DataFrame) else [_pair(edge) for edge in edges]
        if not pairs:
            raise ValueError(f"{what} has no edges: give at least one.")
        for sender, receiver in pairs:
            if (sender, receiver) not in self.by_name:
                raise ValueError(self._unknown(sender, receiver))
        return [self.by_name[pair] for pair in dict.fromkeys(pairs)]

    def mask(self, edges: Edges, what: str = "the circuit") -> Bool[Tensor, " edge"]:
        """True at some of the edges, given and refused as by `named_edges`."""
        mask = torch.zeros(len(self.edges), dtype=torch.bool)
        mask[[self.number[edge] for edge in self.named_edges(edges, what)]] = True
        return mask

    def before(self, receiver: Node) -> list[int]:
        """The numbers of a receiver's edges, in the order in which their senders write. `ValueError` for none."""
        found = [i for i, edge in enumerate(self.edges) if edge.receiver == receiver]
        if not found:
            raise ValueError(f"nothing in this model is read by {named(receiver)}.")
        return found

    def after(self, receiver: Node) -> list[int]:
        """The numbers of the edges from what a receiver belongs to (a head, an MLP); none from the output."""
        writer = _writer(receiver)
        return [i for i, edge in enumerate(self.edges) if edge.sender == writer]

    def _unknown(self, sender: str, receiver: str) -> str:
        """What is said of an edge that there is not."""
        hint = f"{receiver} is read before {sender} is written."
        for role, name, nodes in (("sender", sender, self.senders), ("receiver", receiver, self.receivers)):
            known = [named(node) for node in nodes]
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
                hint = f"no {role} is called {name}, the closest are {', '.join(near)}."
                break
        return f"there is no edge from {sender} to {receiver} in this model: {hint}"


def _pair(edge: Any) -> tuple[str, str]:
    """What tables call an edge's ends."""
    if isinstance(edge, Edge):
        return named(edge.sender), named(edge.receiver)
    if not isinstance(edge, tuple | list) or [isinstance(name, str) for name in edge] != [True, True]:
        raise ValueError(f"{edge!r} is no edge: give an Edge, or a sender's and a receiver's name as tables have them.")
    return edge[0], edge[1]


def _pairs_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The edges of a table's lines."""
    if missing := [name for name in ("sender", "receiver") if name not in table]:
        raise ValueError(f"a table of edges has columns sender and receiver, but this one has no {missing[0]}.")
    for name in ONE_OF_EACH:
        if name in table and len(found := table[name].unique()) > 1:
            several = ", ".join(str(value) for value in found[:3])
            raise ValueError(f"these edges are of several searches ({name} {several}): give the lines of one.")
    if "kept" in table and not table["kept"].all():
        raise ValueError('the table has edges that were not kept: give table[table["kept"]].')
    return [_pair(pair) for pair in zip(table["sender"], table["receiver"], strict=True)]


def _writer(receiver: Node) -> Node | None:
    """Which sender's write is made of what the receiver reads."""
    block, _, hook = receiver.hook.rpartition(".")
    if hook == "hook_mlp_in":
        return Node(f"{block}.hook_mlp_out")
    return None if receiver.head is None else Node(f"{block}.hook_result", receiver.head)
