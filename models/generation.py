"""Going on from a prompt: greedily or by sampling, each new position read once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from models.checked_input import checked_mask, checked_tokens

Pick = Callable[[Float[Tensor, "batch d_vocab"]], Int[Tensor, " batch"]]


@runtime_checkable
class RunsInSteps(Protocol):
    """What a causal subject offers so that it can generate; `Generation` also needs `TextMethods` of it.

    `cfg` has `d_vocab`, and `n_ctx`, the most positions it can read, or None where there is no such number.
    """

    cfg: Any
    hook_dict: dict[str, Any]

    def run_steps(self, input: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read new tokens `[batch, new]` after those that `state` has read; None has read nothing.

        Returns:
            The logits `[batch, new, d_vocab]`, equal to those of a run over all tokens at once, and the state after
            them. Hooks see the new positions alone. The state that went in may be used up.
        """


class Generation:
    """`generate`, for any subject that runs in steps (see `RunsInSteps`)."""

    cfg: Any
    hook_dict: Any
    read_input: Any
    run_steps: Any
    to_string: Any

    @torch.no_grad()
    def generate(
        self,
        input: Tensor | str | list[str],
        max_new: int,
        *,
        mask: Bool[Tensor, "batch pos"] | None = None,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        eos: int | None = None,
        seed: int | Generator = 0,
        draws: Float[Tensor, "batch max_new"] | None = None,
    ) -> Any:
        """Go on from prompts, token by token.

        Hooks stay at work: each fires for new positions only, and finds the number of the first of them in
        `hook.ctx["offset"]`. Rows go in step, so that this number is the same for all: the prompts are read together up
        to the end of the shortest, and from there one position at a time.

        Args:
            input: token ids `[batch, pos]` or `[pos]`, which start with BOS, or text, to which BOS is added.
            max_new: how many tokens each row gets, fewer where it comes to `eos`.
            mask: True where a prompt's token is real, for prompts of different lengths; padding is at the end.
            temperature: 0 takes the likeliest token; above 0 tokens are drawn from `softmax(logits / temperature)`.
            top_k: draw from the k likeliest only.
            top_p: draw from the likeliest that together have at least this probability (Holtzman et al. 2020).
            eos: the token at which a row stops; it is kept.
            seed: of the draws, or a generator to draw with.
            draws: numbers in [0, 1) to choose each row's new tokens by, in place of the seed's: rows that are given the
                same ones differ only as far as what the model says of them does, whatever else is in the batch.

        Returns:
            Tokens `[batch, pos]`, the prompt included, 0 where a row has ended; for text, its text, without BOS and
            `eos`: one string for one, a list for several.

        Raises:
            ValueError: the model does not read and say tokens; there is no prompt, its ids are outside the vocabulary,
                prompt and new tokens are more than `n_ctx`, the mask does not fit, or the sampling cannot be done as
                asked.
        """
        if self.cfg.d_vocab is None or getattr(self.cfg, "d_out", None) not in (None, self.cfg.d_vocab):
            raise ValueError("this model does not say tokens: there is nothing to go on with.")
        tokens, mask = self.read_input(input, mask)
        tokens = checked_tokens(tokens, self.cfg.d_vocab, self.cfg.n_ctx, self.cfg.device)
        lengths = _lengths(tokens, mask)
        if draws is not None:
            _refuse_unfit(draws, temperature, (len(tokens), max_new))
            draws = _by_position(draws, lengths.cpu())
        pick = make_pick(temperature, top_k, top_p, seed, draws)
        total = int(lengths.max()) + max_new
        if max_new < 1:
            raise ValueError(f"max_new is {max_new}: it must be at least 1.")
        if self.cfg.n_ctx is not None and total > self.cfg.n_ctx:
            raise ValueError(
                f"{total - max_new} tokens and {max_new} new ones are more than the {self.cfg.n_ctx} positions "
                "that this model can see."
            )
        if eos is not None and not 0 <= eos < self.cfg.d_vocab:
            raise ValueError(f"eos is {eos}, but the vocabulary is 0 to {self.cfg.d_vocab - 1}.")
        made, lengths = go_on(self, tokens, lengths, total, max_new, pick, eos)
        if isinstance(input, Tensor):
            return made
        texts = []
        for row, length in zip(made, lengths.tolist(), strict=True):
            ended = eos is not None and int(row[length - 1]) == eos
            texts.append(self.to_string(row[1 : length - ended]))
        return texts[0] if isinstance(input, str) else texts


def go_on(
    model: RunsInSteps,
    tokens: Int[Tensor, "batch prompt"],
    lengths: Int[Tensor, " batch"],
    total: int,
    max_new: int,
    pick: Pick,
    eos: int | None,
    state: Any = None,
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, " batch"]]:
    """The rows with what was made, and how long each has become; `state` is what the model goes on from."""
    made = tokens.new_zeros(len(tokens), total)
    real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    made[:, : tokens.shape[1]] = (tokens * real)[:, :total]
    end = lengths + max_new
    read = 0
    with _offsets(model) as say_offset:
        for at in range(int(lengths.min()), total):
            say_offset(read)
            logits, state = model.run_steps(made[:, read:at], state)
            read = at
            new = (lengths <= at) & (at < end)
            made[:, at] = torch.where(new, pick(logits[:, -1]), made[:, at])
            if eos is not None:
                end = torch.where(new & (made[:, at] == eos), at + 1, end)
            if bool((end <= at + 1).all()):
                break
    return made[:, : int(end.max())], end


@contextmanager
def _offsets(model: RunsInSteps) -> Iterator[Callable[[int], None]]:
    """Hook points are told which position their value starts at, while it lasts; not those that see a whole source."""
    axis = getattr(model, "position_axis", None)
    points = [point for name, point in model.hook_dict.items() if axis is None or axis(name) == "target"]

    def say(offset: int) -> None:
        for point in points:
            point.ctx["offset"] = offset

    try:
        yield say
    finally:
        for point in points:
            point.ctx.pop("offset", None)


def make_pick(
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | Generator,
    draws: Float[Tensor, "batch time"] | None = None,
) -> Pick:
    """How the next token is chosen from logits `[batch, d_vocab]`; see `Generation.generate`.

    Of `draws` each call takes the next column: the token at which the shares, the largest first, come to that number.

    Raises:
        ValueError: a number is out of its range, or `top_k` and `top_p` are given where nothing is drawn.
    """
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}: it must be 0 (the likeliest token) or above.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: it must be at least 1.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it must be above 0 and at most 1.")
    if temperature == 0:
        if top_k is not None or top_p is not None:
            raise ValueError("top_k and top_p choose what is drawn from: give a temperature above 0 with them.")
        return lambda logits: logits.argmax(-1)
    generator = seed if isinstance(seed, Generator) else torch.Generator().manual_seed(seed)
    columns = None if draws is None else iter(draws.to(generator.device, torch.float64).unbind(1))

    def draw(logits: Float[Tensor, "batch d_vocab"]) -> Int[Tensor, " batch"]:
        # Where the generator is, in float64: the same draws whatever the model runs on and in.
        p = (logits.to(generator.device, torch.float64) / temperature).softmax(-1)
        ordered, tokens = p.sort(stable=True, dim=-1, descending=True)
        if top_k is not None:
            ordered[:, top_k:] = 0
        if top_p is not None:
            ordered /= ordered.sum(-1, keepdim=True)
            ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
        if columns is None:
            chosen = torch.multinomial(ordered, 1, generator=generator)
        else:
            reached = ordered.cumsum(-1)
            chosen = (reached <= next(columns)[:, None] * reached[:, -1:]).sum(-1, keepdim=True)
            chosen = torch.minimum(chosen, (ordered > 0).sum(-1, keepdim=True) - 1)  # a product may round up to the end
        return tokens.gather(1, chosen)[:, 0].to(logits.device)

    return draw


def _refuse_unfit(draws: Tensor, temperature: float, shape: tuple[int, int]) -> None:
    if temperature == 0:
        raise ValueError("draws are what is chosen by: give a temperature above 0 with them.")
    if tuple(draws.shape) != shape:
        raise ValueError(f"draws are {tuple(draws.shape)}: they must be {shape}, one a row and new token.")
    if not ((draws >= 0) & (draws < 1)).all():
        raise ValueError("draws must be numbers from 0 up to, but not including, 1.")


def _by_position(draws: Float[Tensor, "batch max_new"], lengths: Int[Tensor, " batch"]) -> Float[Tensor, "batch time"]:
    """Each row's draws from the end of its own prompt on, in columns that start where the shortest prompt ends."""
    late = (lengths - lengths.min())[:, None]
    placed = draws.new_zeros(len(draws), draws.shape[1] + int(late.max()))
    return placed.scatter_(1, late + torch.arange(draws.shape[1]), draws)


def _lengths(tokens: Int[Tensor, "batch pos"], mask: Tensor | None) -> Int[Tensor, " batch"]:
    if mask is None:
        return torch.full((len(tokens),), tokens.shape[1], device=tokens.device)
    checked_mask(mask, tokens.shape)
    return mask.sum(1).to(tokens.device)
