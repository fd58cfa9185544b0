"""Alignment: what a recurrent decoder looks at in the source, and how it is used."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.cells import State
from models.hooks import attached
from models.step_hooks import StepHookPoint


class Memory(NamedTuple):
    """What the encoder made of a source, as a decoder looks at it.

    Attributes:
        values: what contexts are made of.
        keys: what the decoder's state is compared with.
        mask: True where the source is real; None where all of it is.
    """

    values: Float[Tensor, "batch source d_source"]
    keys: Float[Tensor, "batch source d_key"]
    mask: Bool[Tensor, "batch source"] | None


class BahdanauAttention(nn.Module):
    """Additive attention inside the recurrence (Bahdanau et al. 2015, arXiv 1409.0473).

    Step i looks at the source with the state before it: `e_ij = v · tanh(s_{i−1} W_query + h_j W_key)`, the pattern is
    its softmax over j, and the context `c_i = Σ_j α_ij h_j` enters the step's input: `c_i W_context` is added to what
    the input contributes to the cell's gates. Weights `W_query [d_model, d_attention]`, `W_key [d_source,
    d_attention]`, `v [d_attention]`, `W_context [d_source, d_projected]`: the paper's W_a, U_a, v_a and C, C_z, C_r.

    Hooks, which fire once a step, so that an edit changes every later one: `hook_scores` (−∞ at padding) and
    `hook_pattern [batch, 1, target, source]`, `hook_context [batch, target, d_source]`.
    """

    def __init__(self, d_model: int, d_source: int, d_attention: int, d_projected: int) -> None:
        super().__init__()
        self.W_query = nn.Parameter(torch.empty(d_model, d_attention))
        self.W_key = nn.Parameter(torch.empty(d_source, d_attention))
        self.v = nn.Parameter(torch.empty(d_attention))
        self.W_context = nn.Parameter(torch.empty(d_source, d_projected))
        self.hook_scores, self.hook_pattern, self.hook_context = StepHookPoint(), StepHookPoint(), StepHookPoint()
        self.hook_scores.pos_dim = self.hook_pattern.pos_dim = 2

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Uniform within ±1/√rows."""
        _reset(self, generator)

    def remember(
        self, values: Float[Tensor, "batch source d_source"], mask: Bool[Tensor, "batch source"] | None
    ) -> Memory:
        """The source with its keys, which serve for all steps."""
        return Memory(values, values @ self.W_key, mask)

    def begin(self, n_steps: int) -> None:
        """A recurrence of `n_steps` begins."""
        for point in (self.hook_scores, self.hook_pattern, self.hook_context):
            point.begin(n_steps)

    def feed(
        self, memory: Memory, projected: Float[Tensor, "batch d_projected"], state: State, t: int
    ) -> Float[Tensor, "batch d_projected"]:
        """What the input of step `t` contributes, with the context that the state before it looks up."""
        query = state[0] @ self.W_query
        scores = _masked((memory.keys + query[:, None]).tanh() @ self.v, memory.mask)
        scores = _at(self.hook_scores, scores[:, None], t)
        pattern = _at(self.hook_pattern, scores.softmax(-1), t)
        context = _at(self.hook_context, (pattern @ memory.values)[:, 0], t)
        return torch.addmm(projected, context, self.W_context)


class LuongAttention(nn.Module):
    """Global multiplicative attention after the recurrence (Luong et al. 2015, arXiv 1508.04025).

    A target position looks at the source with its own state, the decoder's last layer: the score is `h_t · h̄_s`
    (`dot`) or `h_t · (h̄_s W_key)` (`general`), the pattern its softmax over s, and the decoder reads out
    `h̃_t = tanh([c_t; h_t] W_out)`. There is no input feeding: h̃ does not enter the next step, so that all steps are
    taken at once. Weights `W_key [d_source, d_model]` (where general) and `W_out [d_source + d_model, d_model]`: the
    paper's W_a and W_c.

    Hooks: `hook_scores` (−∞ at padding) and `hook_pattern [batch, 1, target, source]`, `hook_context [batch, target,
    d_source]`, and `hook_out [batch, target, d_model]`, which is h̃.
    """

    def __init__(self, d_model: int, d_source: int, general: bool) -> None:
        super().__init__()
        self.W_key = nn.Parameter(torch.empty(d_source, d_model)) if general else None
        self.W_out = nn.Parameter(torch.empty(d_source + d_model, d_model))
        self.hook_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_scores.pos_dim = self.hook_pattern.pos_dim = 2
        self.hook_context, self.hook_out = HookPoint(), HookPoint()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Uniform within ±1/√rows."""
        _reset(self, generator)

    def remember(
        self, values: Float[Tensor, "batch source d_source"], mask: Bool[Tensor, "batch source"] | None
    ) -> Memory:
        """The source with its keys."""
        return Memory(values, values if self.W_key is None else values @ self.W_key, mask)

    def forward(
        self, hidden: Float[Tensor, "batch target d_model"], memory: Memory
    ) -> Float[Tensor, "batch target d_model"]:
        """What the decoder reads out, h̃."""
        seen = None if memory.mask is None else memory.mask[:, None]
        scores = self.hook_scores(_masked(hidden @ memory.keys.mT, seen)[:, None])
        pattern = self.hook_pattern(scores.softmax(-1))[:, 0]
        context = self.hook_context(pattern @ memory.values)
        return self.hook_out((torch.cat([context, hidden], -1) @ self.W_out).tanh())


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    return scores if mask is None else scores.masked_fill(~mask, -math.inf)


def _at(point: StepHookPoint, value: Tensor, t: int) -> Tensor:
    return point.at(value, t) if attached(point) else value


def _reset(module: nn.Module, generator: Generator | None) -> None:
    for weight in module.parameters():
        nn.init.uniform_(weight, -(weight.shape[0] ** -0.5), weight.shape[0] ** -0.5, generator=generator)
