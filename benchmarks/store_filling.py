"""Recording hooks, against the forward pass alone. Bars: one hook at 0.9 of its rate, three hooks at 0.8.

All read the same 1,024 sequences of 128 tokens in batches of 64, with the demo's subject. The hooks are in the last
layer, so that of the layers none is saved; `harvest` still stops below the unembedding, and so what it costs by itself
is told by the forward pass that stops there too.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.bars import row
from models import Dataset, Transformer, TransformerConfig
from workbench.activations import harvest

N_LAYERS = 2
ONE = ["blocks.1.mlp.hook_post"]
THREE = [*ONE, "blocks.1.attn.hook_z", "blocks.1.hook_resid_post"]
BATCH = 64
FORWARD = "store: forward pass alone"
BARS = {"store: harvest of one hook, float16": 0.9, "store: harvest of three hooks, float16": 0.8}


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for the table of `make bench`."""
    cfg = TransformerConfig(n_layers=N_LAYERS, d_model=128, n_heads=4, d_mlp=512, n_ctx=128, d_vocab=2048)
    model = Transformer(cfg).eval()
    tokens = torch.randint(1, 2048, (256 if quick else 1024, 128), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 0
    data = Dataset(tokens)
    one, three = BARS
    with tempfile.TemporaryDirectory() as folder:
        n = iter(range(10**6))

        def record(hooks: list[str], dtype: str) -> None:
            harvest(model, data, hooks, Path(folder, str(next(n))), dtype=dtype)

        jobs: dict[str, Callable[[], object]] = {
            FORWARD: lambda: _forward(model, tokens),
            "store: forward pass that stops where harvest stops": lambda: _forward(
                model, tokens, stop_at_layer=N_LAYERS
            ),
            one: lambda: record(ONE, "float16"),
            "store: harvest of one hook, float32": lambda: record(ONE, "float32"),
            three: lambda: record(THREE, "float16"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        for i in range(4 if quick else 10):
            for name, job in jobs.items():
                start = time.perf_counter()
                job()
                if i:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
    rate = {name: data.n_tokens / statistics.median(times) for name, times in seconds.items()}
    return [row(name, value, "tokens/s", value / rate[FORWARD], BARS.get(name)) for name, value in rate.items()]


@torch.inference_mode()
def _forward(model: Transformer, tokens: torch.Tensor, **kwargs: int) -> None:
    for start in range(0, len(tokens), BATCH):
        model(tokens[start : start + BATCH], **kwargs)
