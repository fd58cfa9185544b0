"""A transformer whose weights were set by hand, and the circuit in it: what a search for circuits should find."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from models.transformer import Transformer, TransformerConfig

N_LAYERS, N_HEADS = 2, 3
# A score this much above the others leaves them, in float32, a weight of exactly zero.
SHARP = 400.0
LOGIT = 10.0


class Node(NamedTuple):
    """Where something is written or read: a hook, and which head of it where it has several."""

    hook: str
    head: int | None = None


class Edge(NamedTuple):
    """What `sender` writes to the residual stream and `receiver` reads from it."""

    sender: Node
    receiver: Node


EMBED, POSITION = Node("hook_embed"), Node("hook_pos_embed")
OUTPUT = Node(f"blocks.{N_LAYERS - 1}.hook_resid_post")


@dataclass(frozen=True)
class Circuit:
    """Which edges of a model do its work.

    Senders are `hook_embed`, `hook_pos_embed` and a head's `attn.hook_result`; receivers a head's
    `attn.hook_{q,k,v}_input` and, for what is unembedded, the last `hook_resid_post`.

    Attributes:
        edges: those that the behaviour needs, every one of them.
        all_edges: all that there are in the model, in the order of its layers.
    """

    edges: frozenset[Edge]
    all_edges: tuple[Edge, ...]

    @property
    def nodes(self) -> frozenset[Node]:
        """The ends of the edges."""
        return frozenset(node for edge in self.edges for node in edge)


def compiled_induction(d_vocab: int, n_ctx: int) -> tuple[Transformer, Circuit]:
    """Induction by hand in two layers of attention alone: after a token comes what came after it before.

    Says BOS (id 0) after a token that has not been there before; exact where each token that was there has been
    followed by one and the same. Head 0 of layer 0 copies the previous token, head 0 of layer 1 looks where that is
    the token it stands on, or else at BOS (Elhage et al. 2021). The other heads attend and write as well, but nobody
    that the output hears of reads what they write: layer 0's copy the token itself and the one before the last, layer
    1's compare tokens with tokens, and copy from one place back.

    Args:
        d_vocab: tokens, BOS included; at least 3.
        n_ctx: the longest sequence; at least 3.

    Raises:
        ValueError: either is too small.
    """
    if d_vocab < 3 or n_ctx < 3:
        raise ValueError(f"d_vocab is {d_vocab} and n_ctx {n_ctx}: induction needs at least 3 of each.")
    d_head = max(d_vocab + 1, n_ctx)
    names = ("token", "previous", "out", "side", "unread")
    space = {name: slice(i * d_vocab, (i + 1) * d_vocab) for i, name in enumerate(names)}
    space["position"] = slice(len(names) * d_vocab, len(names) * d_vocab + n_ctx)
    model = Transformer(
        TransformerConfig(
            n_layers=N_LAYERS,
            d_model=space["position"].stop,
            n_heads=N_HEADS,
            d_head=d_head,
            n_ctx=n_ctx,
            d_vocab=d_vocab,
            attn_only=True,
            normalization_type=None,
        )
    ).eval()
    with torch.no_grad():
        _set_weights(model, space)
    return model, Circuit(_true_edges(), _all_edges())


def _set_weights(model: Transformer, space: dict[str, slice]) -> None:
    for parameter in model.parameters():
        parameter.zero_()
    d_vocab, n_ctx = model.cfg.d_vocab, model.cfg.n_ctx
    tokens = torch.eye(d_vocab)
    model.embed.W_E[:, space["token"]] = tokens
    model.W_pos[:, space["position"]] = torch.eye(n_ctx)
    model.W_U[space["out"]] = LOGIT * tokens
    sharp = SHARP * math.sqrt(model.cfg.d_head)

    def looks_back(layer: int, head: int, steps: int) -> None:
        attn = model.blocks[layer].attn
        # Position p asks for p − steps: row p of the query's weights is the unit vector of that position.
        attn.W_Q[head, space["position"], :n_ctx] = sharp * torch.diag(torch.ones(n_ctx - steps), -steps)
        attn.W_K[head, space["position"], :n_ctx] = torch.eye(n_ctx)

    def looks_for(layer: int, head: int, key: str) -> None:
        attn = model.blocks[layer].attn
        attn.W_Q[head, space["token"], :d_vocab] = sharp * tokens
        attn.W_K[head, space[key], :d_vocab] = tokens

    def copies(layer: int, head: int, source: str, target: str) -> None:
        attn = model.blocks[layer].attn
        attn.W_V[head, space[source], :d_vocab] = tokens
        attn.W_O[head, :d_vocab, space[target]] = tokens

    looks_back(0, 0, 1)
    copies(0, 0, "token", "previous")
    looks_for(1, 0, "previous")
    copies(1, 0, "token", "out")
    # Half a match at BOS, for tokens that match nowhere.
    induction = model.blocks[1].attn
    induction.b_Q[0, d_vocab] = sharp / 2
    induction.W_K[0, space["position"].start, d_vocab] = 1
    looks_back(0, 1, 0)
    copies(0, 1, "token", "side")
    looks_back(0, 2, 2)
    copies(0, 2, "token", "side")
    looks_for(1, 1, "token")
    copies(1, 1, "previous", "unread")
    looks_back(1, 2, 1)
    copies(1, 2, "side", "unread")


def _true_edges() -> frozenset[Edge]:
    previous, induction = _result(0, 0), _result(1, 0)
    return frozenset(
        {
            Edge(POSITION, _input(0, 0, "q")),
            Edge(POSITION, _input(0, 0, "k")),
            Edge(EMBED, _input(0, 0, "v")),
            Edge(EMBED, _input(1, 0, "q")),
            Edge(previous, _input(1, 0, "k")),
            Edge(POSITION, _input(1, 0, "k")),
            Edge(EMBED, _input(1, 0, "v")),
            Edge(induction, OUTPUT),
        }
    )


def _all_edges() -> tuple[Edge, ...]:
    edges, senders = [], [EMBED, POSITION]
    for layer in range(N_LAYERS):
        receivers = [_input(layer, head, letter) for head in range(N_HEADS) for letter in "qkv"]
        edges += [Edge(sender, receiver) for receiver in receivers for sender in senders]
        senders += [_result(layer, head) for head in range(N_HEADS)]
    return tuple(edges + [Edge(sender, OUTPUT) for sender in senders])


def _result(layer: int, head: int) -> Node:
    return Node(f"blocks.{layer}.attn.hook_result", head)


def _input(layer: int, head: int, letter: str) -> Node:
    return Node(f"blocks.{layer}.attn.hook_{letter}_input", head)
