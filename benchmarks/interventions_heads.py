"""`head_scores` beside a forward pass of the same sequences that makes the same patterns and throws them away."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.bars import row
from benchmarks.turns import take_turns
from models.transformer import Transformer, TransformerConfig
from workbench.attention import head_scores
from workbench.attention import patterns as detect

N_SEQ, LENGTH, BATCH = 64, 256, 16
SHAPE = {"n_layers": 4, "d_model": 256, "n_heads": 8, "n_ctx": LENGTH, "d_vocab": 2048}
BAR = 1.5
CLOSE = 1e-5


def head_scores_bar(quick: bool = False) -> list[dict[str, Any]]:
    """All scores of 32 heads on 64 sequences of 256 tokens: one subject, one text, and no control."""
    model = Transformer(TransformerConfig(**SHAPE)).eval()
    tokens = torch.randint(1, SHAPE["d_vocab"], (N_SEQ, LENGTH), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 0
    patterns = [name for name in model.hook_dict if name.endswith("hook_pattern")]

    @torch.inference_mode()
    def forward() -> None:
        with model.hooks(fwd_hooks=[(name, lambda value, hook: None) for name in patterns]):
            for part in tokens.split(BATCH):
                model(part, return_type=None)

    def scored() -> Any:
        return head_scores(model, tokens, random_repeats=False, n_controls=0, batch_size=BATCH)

    _refuse_other_numbers(scored(), patterns, model, tokens)
    (plain, _), (ours, _) = take_turns(3 if quick else 7, forward, scored)
    return [
        row("a forward pass that makes 32 heads' patterns, 64 × 256 tokens", plain, "s"),
        row("head_scores: all scores of these heads", ours, "s", ours / plain, BAR, at_most=True),
    ]


def _refuse_other_numbers(found: Any, patterns: list[str], model: Transformer, tokens: Tensor) -> None:
    """Equal to what the definitions give of the first and last layer's whole patterns, all at once."""
    detections: dict[str, Callable[..., Tensor]] = {
        "previous_token": detect.previous_token,
        "duplicate_token": detect.duplicate_token,
        "induction": detect.induction,
    }
    for hook in (patterns[0], patterns[-1]):
        with torch.inference_mode():
            _, cache = model.run_with_cache(tokens, return_type=None, names_filter=hook)
        for name, detection in detections.items():
            want = detect.attention_to(cache[hook], detection(tokens)).double()
            ours = found[(found["hook"] == hook) & (found["score"] == name)].sort_values("head")["value"]
            if not torch.allclose(torch.tensor(ours.tolist(), dtype=torch.float64), want, rtol=0, atol=CLOSE):
                raise RuntimeError(f"{name} of {hook} is not what its definition gives.")
