"""The direct path from a feature to the logits."""

import re
from typing import Any

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from models import Recurrent

N_LOGITS = 10
RESIDUAL = re.compile(r"blocks\.\d+\.hook_(resid_(pre|mid|post)|mlp_out|attn_out|out)|hook_embed|hook_pos_embed")
NEURONS = re.compile(r"blocks\.(\d+)\.mlp\.hook_post")
STATES = re.compile(r"blocks\.(\d+)\.(rnn\.hook_h|hook_out)")
HEADS = re.compile(r"blocks\.(\d+)\.attn\.hook_z")


@torch.no_grad()
def direct_logit_effects(
    model: Any, hook_name: str, directions: Float[Tensor, "feature d_in"]
) -> Float[Tensor, "feature d_vocab"] | None:
    """What each direction, written at the hook, adds to the logits through no further layer.

    From MLP neurons the path goes through W_out, from attention heads through W_O, from the residual stream and from a
    recurrent network's last layer straight on; then through the unembedding with the last norm folded in. The norm's
    division by the residual's length is left out, so effects compare between tokens, and only roughly between features;
    logits are centred over the vocabulary, which softmax ignores.

    Returns:
        None for a hook without such a path, or a subject that cannot be folded.
    """
    if isinstance(model, Recurrent):
        top, W_U = STATES.fullmatch(hook_name), model.unembed.W_U
        is_last = top is not None and int(top[1]) == model.cfg.n_layers - 1 and len(W_U) == directions.shape[1]
        if not is_last or W_U.shape[1] != model.cfg.d_vocab:  # what is read out need not be tokens
            return None
        return directions @ (W_U - W_U.mean(-1, keepdim=True))
    if not hasattr(model, "folded"):
        return None
    folded = model.folded()
    if match := NEURONS.fullmatch(hook_name):
        W_out = folded.blocks[int(match[1])].mlp.W_out
        if W_out is None:
            return None
        directions = directions @ W_out
    elif match := HEADS.fullmatch(hook_name):
        W_O = folded.blocks[int(match[1])].attn.W_O
        if W_O is None:
            return None
        directions = directions @ rearrange(W_O, "head d_head d_model -> (head d_head) d_model")
    elif not RESIDUAL.fullmatch(hook_name):
        return None
    if (folded.cfg.normalization_type or "").startswith("LN"):
        directions = directions - directions.mean(-1, keepdim=True)
    return directions @ folded.W_U


def logit_table(effects: Float[Tensor, "feature d_vocab"] | None, n: int = N_LOGITS) -> pd.DataFrame:
    """For each feature the tokens whose logits it pushes up and down most: feature, direction, token, logit."""
    if effects is None:
        return pd.DataFrame(
            {
                "feature": pd.Series(dtype="int32"),
                "direction": pd.Series(dtype="str"),
                "token": pd.Series(dtype="int32"),
                "logit": pd.Series(dtype="float32"),
            }
        )
    n = min(n, effects.shape[1])
    parts = []
    for direction, largest in (("up", True), ("down", False)):
        values, tokens = effects.topk(n, dim=1, largest=largest)
        parts.append(
            pd.DataFrame(
                {
                    "feature": torch.arange(len(effects)).repeat_interleave(n).numpy().astype("int32"),
                    "direction": direction,
                    "token": tokens.flatten().numpy().astype("int32"),
                    "logit": values.flatten().numpy(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
