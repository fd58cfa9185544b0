"""What head scores are held against: text without meaning, and heads without training."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from models.checked_input import whole_number
from models.dataset import Dataset


def random_repeats_for(model: Any, data: Dataset, n: int, seed: int) -> Dataset:
    """As many positions as `data` has: BOS, then random tokens of the subject's vocabulary, repeated once.

    A source, where the subject reads one, is made of random tokens of its vocabulary in the same way.

    Raises:
        ValueError: it reads no tokens, or sequences are too short to hold a repeat.
    """
    generator = torch.Generator().manual_seed(whole_number(seed, "seed"))
    if data.tokens.is_floating_point():
        raise ValueError("this subject reads vectors: there are no random tokens for it (random_repeats=False).")
    bos = getattr(model, "bos", 0) if data.bos is None else data.bos
    d_vocab = int(model.cfg.d_vocab)
    if (tokenizer := getattr(model, "tokenizer", None)) is not None:
        d_vocab = min(d_vocab, tokenizer.get_vocab_size())  # ids beyond only pad the matrix
    length = data.tokens.shape[1]
    tokens = torch.full((n, 1), bos)
    tokens = torch.cat([tokens, _repeated(n, length - 1, d_vocab, bos, generator)], 1)
    if data.source is None:
        return Dataset(tokens, bos=data.bos)
    source = _repeated(n, data.source.shape[1], int(model.cfg.d_vocab_source), 0, generator)
    return Dataset(tokens, source=source, bos=data.bos)


def _repeated(n: int, length: int, d_vocab: int, without: int, generator: Generator) -> Int[Tensor, "n _"]:
    """Random ids, none of them `without`, and the same again; all different where there are enough."""
    period = length // 2
    if period < 2:
        raise ValueError(f"{length} tokens cannot hold random ones and their repeat (random_repeats=False).")
    ids = torch.arange(d_vocab)
    ids = ids[ids != without]
    odds = torch.ones(n, len(ids))
    drawn = ids[torch.multinomial(odds, period, replacement=period > len(ids), generator=generator)]
    return torch.cat([drawn, drawn], 1)


@torch.no_grad()
def with_random_weights(model: Any, seed: int) -> Any:
    """A subject of the same shape that learned nothing.

    Weights are drawn anew as before training. Those of a hub model, whose drawing is not known, are its own with the
    entries of each matrix shuffled.
    """
    other = type(model)(model.cfg)
    if not model.weights_elsewhere:
        other.init_weights(seed)
    else:
        generator = torch.Generator().manual_seed(seed)
        for weight in (parameter for _, parameter in other.named_parameters() if parameter.ndim > 1):
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return other.train(model.training)
