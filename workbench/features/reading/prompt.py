"""`read_prompt`: everything that a subject and a dictionary hold about one typed text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.features.reading.text import TextReading, read_text

if TYPE_CHECKING:
    from workbench.features.columns import Dictionary


@dataclass(frozen=True)
class PromptReading(TextReading):
    """One text as the subject and a dictionary read it; position 0 is BOS.

    Attributes:
        patterns: for each layer, how much each position looks at those before it.
        features: at each position the features that fire, strongest first; none at BOS, which no dictionary was
            trained on.
        values: how strongly they fire.
        held: what other hooks held at each position, those that were asked for, their axes in one.
    """

    patterns: dict[int, Float[Tensor, "head query key"]]
    features: list[Int[np.ndarray, " _"]]
    values: list[Float[np.ndarray, " _"]]
    held: dict[str, Float[Tensor, "pos _"]]


def read_prompt(
    model: Any,
    sae: "Dictionary | None",
    text: str,
    *,
    hooks: Sequence[str] = (),
    n_predictions: int = 5,
    bos: int | None = None,
) -> PromptReading:
    """Run the subject on a text once and read its losses, predictions, attention patterns and active features.

    Args:
        model: a subject with TransformerLens's protocol and a tokenizer.
        sae: the dictionary, or transcoder, that reads `sae.cfg.hook_name`; without one, no features are read.
        text: the prompt, without BOS.
        hooks: whose values are kept.
        n_predictions: how many next tokens are told at each position.
        bos: the id of BOS; the subject's own where None.

    Raises:
        ValueError: the subject cannot read a text, the prompt is empty or too long, or the dictionary is of a hook
            the subject has not, or a crosscoder, which reads several.
    """
    if sae is not None and sae.cfg.kind == "crosscoder":
        raise ValueError("a crosscoder reads several hooks at once: a prompt is read by a dictionary of one hook.")
    patterns = [name for name in model.hook_dict if name.endswith("attn.hook_pattern")]
    wanted = list(dict.fromkeys([*patterns, *([sae.cfg.hook_name] if sae is not None else []), *hooks]))
    if sae is not None and sae.cfg.hook_name not in model.hook_dict:
        raise ValueError(f"the dictionary reads {sae.cfg.hook_name!r}, a hook that this model does not have.")
    reading, cache = read_text(model, text, wanted, n_predictions=n_predictions, bos=bos)
    with torch.inference_mode():
        features, values = _active(sae, cache) if sae is not None else ([], [])
    return PromptReading(
        **vars(reading),
        patterns={int(name.split(".")[1]): cache[name][0].clone() for name in patterns},
        features=features or [np.empty(0, np.int64)] * len(reading.tokens),
        values=values or [np.empty(0, np.float32)] * len(reading.tokens),
        held={name: cache[name][0].flatten(1).float().cpu().clone() for name in dict.fromkeys(hooks)},
    )


def _active(sae: "Dictionary", cache: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The features that fire at each position and their values, strongest first; BOS is left empty."""
    f = sae.encode(cache[sae.cfg.hook_name][0].flatten(1)).numpy()
    f[0] = 0
    order = np.argsort(-f, axis=1, kind="stable")[:, : int((f > 0).sum(1).max())]
    features = [which[row[which] > 0].astype(np.int64) for row, which in zip(f, order, strict=True)]
    return features, [row[which].astype(np.float32) for row, which in zip(f, features, strict=True)]
