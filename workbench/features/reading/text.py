"""`read_text`: one typed text as a subject read it, and what its hooks held meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.features.vocabulary import token_strings

# What is read of a text at once where the subject itself knows no longest one.
MAX_TOKENS = 1024


@dataclass(frozen=True)
class TextReading:
    """One text as the subject read it; position 0 is BOS.

    Attributes:
        token_ids: what the text became.
        tokens: the same in words.
        loss: −log p of each token given those before it, in nats; NaN for BOS, which nothing predicts, and throughout
            where the subject does not predict the next token.
        predictions: at each position the most probable next tokens with their probabilities, best first; none where the
            subject does not predict the next token.
    """

    token_ids: Int[np.ndarray, " pos"]
    tokens: list[str]
    loss: Float[np.ndarray, " pos"]
    predictions: list[list[tuple[str, float]]]


def read_text(
    model: Any, text: str, hooks: Sequence[str] = (), *, n_predictions: int = 5, bos: int | None = None
) -> tuple[TextReading, Any]:
    """Run the subject on a text once.

    Args:
        model: a subject with TransformerLens's protocol and a tokenizer.
        text: the prompt, without BOS.
        hooks: what is to be cached.
        n_predictions: how many next tokens are told at each position.
        bos: the id of BOS; the subject's own where None.

    Returns:
        The reading, and the cache of the hooks, each `[1, pos, …]`.

    Raises:
        ValueError: the subject reads vectors, or a source that it answers, or has no tokenizer; the prompt is empty or
            too long.
    """
    ids = _encode(model, text, model.bos if bos is None else bos)
    with torch.inference_mode():
        if hooks:
            output, cache = model.run_with_cache(ids[None], names_filter=list(hooks))
        else:
            output, cache = model(ids[None]), {}
    loss, predictions = _next_tokens(model, output[0].cpu(), ids, n_predictions)
    return TextReading(ids.numpy(), token_strings(model.tokenizer, ids.tolist()), loss, predictions), cache


def predicts_next_token(model: Any) -> bool:
    """Whether a subject's output at each position is about the token that comes next, which it has not seen."""
    classes = getattr(model.cfg, "d_out", None) or model.cfg.d_vocab
    return classes == model.cfg.d_vocab and not getattr(model.cfg, "bidirectional", False)


def _next_tokens(
    model: Any, output: Float[Tensor, "pos d_out"], ids: Int[Tensor, " pos"], n_predictions: int
) -> tuple[Float[np.ndarray, " pos"], list[list[tuple[str, float]]]]:
    if not predicts_next_token(model):
        return np.full(len(ids), np.nan, np.float32), [[] for _ in ids]
    log_probs = output.float().log_softmax(-1)
    loss = -log_probs[:-1].gather(1, ids[1:, None])[:, 0]
    best = log_probs.exp().topk(min(n_predictions, log_probs.shape[-1]), dim=-1)
    predicted = token_strings(model.tokenizer, best.indices.flatten().tolist())
    pairs = list(zip(predicted, best.values.flatten().tolist(), strict=True))
    n = best.values.shape[1]
    return np.concatenate([[np.nan], loss.numpy()]), [pairs[i * n : (i + 1) * n] for i in range(len(ids))]


def check_reads_text(model: Any) -> None:
    """`ValueError` if a typed text cannot be given to a subject: it reads vectors, or a source, or has no tokenizer."""
    cfg = model.cfg
    if getattr(cfg, "d_in", None) is not None:
        numbers = f"{cfg.d_in} number{'s' * (cfg.d_in != 1)}"
        raise ValueError(f"this model reads {numbers} a step, not tokens, so it cannot read a typed text.")
    if getattr(cfg, "d_vocab_source", None) is not None:
        raise ValueError("this model answers a source with a target, so it cannot read one typed text.")
    if model.tokenizer is None:
        raise ValueError("this model has no tokenizer, so it cannot read a typed text.")


def _encode(model: Any, text: str, bos: int) -> Int[Tensor, " pos"]:
    check_reads_text(model)
    cfg = model.cfg
    if not text:
        raise ValueError("the prompt is empty: type at least one character.")
    ids = [bos, *model.tokenizer.encode(text, add_special_tokens=False).ids]
    if cfg.n_ctx is not None and len(ids) > cfg.n_ctx:
        raise ValueError(
            f"the prompt is {len(ids) - 1} tokens long: with BOS before it, at most {cfg.n_ctx - 1} fit "
            "into the context."
        )
    if cfg.n_ctx is None and len(ids) > MAX_TOKENS:
        raise ValueError(f"the prompt is {len(ids) - 1} tokens long: at most {MAX_TOKENS - 1} are read at once.")
    return torch.tensor(ids)
