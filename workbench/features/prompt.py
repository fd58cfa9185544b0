"""`read_prompt`: everything that a subject and a dictionary hold about one typed text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.features.vocabulary import token_strings

if TYPE_CHECKING:
    from workbench.sae import SAE


@dataclass(frozen=True)
class PromptReading:
    """One text as the subject read it; position 0 is BOS.

    Attributes:
        token_ids: what the text became.
        tokens: the same in words.
        loss: −log p of each token given those before it, in nats; NaN for BOS, which nothing predicts.
        predictions: at each position the most probable next tokens with their probabilities, best first.
        patterns: for each layer, how much each position looks at those before it.
        features: at each position the features that fire, strongest first; none at BOS, which no dictionary was
            trained on.
        values: how strongly they fire.
    """

    token_ids: Int[np.ndarray, " pos"]
    tokens: list[str]
    loss: Float[np.ndarray, " pos"]
    predictions: list[list[tuple[str, float]]]
    patterns: dict[int, Float[Tensor, "head query key"]]
    features: list[Int[np.ndarray, " _"]]
    values: list[Float[np.ndarray, " _"]]


def read_prompt(model: Any, sae: "SAE | None", text: str, *, n_predictions: int = 5, bos: int = 0) -> PromptReading:
    """Run the subject on a text once and read its losses, predictions, attention patterns and active features.

    Args:
        model: a subject with TransformerLens's protocol and a tokenizer.
        sae: the dictionary at `sae.cfg.hook_name`; without one, no features are read.
        text: the prompt, without BOS.
        n_predictions: how many next tokens are told at each position.
        bos: the id of BOS.

    Raises:
        ValueError: an empty prompt, one longer than the context, a subject without a tokenizer, or a dictionary
            of a hook the subject has not.
    """
    ids = _encode(model, text, bos)
    patterns = [name for name in model.hook_dict if name.endswith("attn.hook_pattern")]
    wanted = [*patterns, *([sae.cfg.hook_name] if sae is not None else [])]
    if sae is not None and sae.cfg.hook_name not in model.hook_dict:
        raise ValueError(f"the dictionary reads {sae.cfg.hook_name!r}, a hook that this model does not have.")
    with torch.inference_mode():
        logits, cache = model.run_with_cache(ids[None], names_filter=wanted)
        log_probs = logits[0].float().log_softmax(-1)
        loss = -log_probs[:-1].gather(1, ids[1:, None])[:, 0]
        best = log_probs.exp().topk(min(n_predictions, log_probs.shape[-1]), dim=-1)
        features, values = _active(sae, cache) if sae is not None else ([], [])
    predicted = token_strings(model.tokenizer, best.indices.flatten().tolist())
    probabilities = best.values.flatten().tolist()
    n = best.values.shape[1]
    pairs = list(zip(predicted, probabilities, strict=True))
    return PromptReading(
        token_ids=ids.numpy(),
        tokens=token_strings(model.tokenizer, ids.tolist()),
        loss=np.concatenate([[np.nan], loss.numpy()]),
        predictions=[pairs[i * n : (i + 1) * n] for i in range(len(ids))],
        patterns={int(name.split(".")[1]): cache[name][0].clone() for name in patterns},
        features=features or [np.empty(0, np.int64)] * len(ids),
        values=values or [np.empty(0, np.float32)] * len(ids),
    )


def _encode(model: Any, text: str, bos: int) -> Int[Tensor, " pos"]:
    if model.tokenizer is None:
        raise ValueError("this model has no tokenizer, so it cannot read a typed text.")
    if not text:
        raise ValueError("the prompt is empty: type at least one character.")
    ids = [bos, *model.tokenizer.encode(text, add_special_tokens=False).ids]
    if len(ids) > model.cfg.n_ctx:
        raise ValueError(
            f"the prompt is {len(ids) - 1} tokens long: with BOS before it, at most {model.cfg.n_ctx - 1} fit "
            "into the context."
        )
    return torch.tensor(ids)


def _active(sae: "SAE", cache: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The features that fire at each position and their values, strongest first; BOS is left empty."""
    codes = sae.encode_sparse(cache[sae.cfg.hook_name][0].flatten(1).float())
    features: list[np.ndarray] = [np.empty(0, np.int64)]
    values: list[np.ndarray] = [np.empty(0, np.float32)]
    for row, which in zip(codes.values[1:].numpy(), codes.indices[1:].numpy(), strict=True):
        order = np.argsort(-row, kind="stable")
        order = order[row[order] > 0]
        features.append(which[order].astype(np.int64))
        values.append(row[order].astype(np.float32))
    return features, values
