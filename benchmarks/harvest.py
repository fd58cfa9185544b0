"""Recording one MLP hook, against the forward pass alone. Bar: at least 0.8 of its rate.

    python -m benchmarks.harvest

Both read the same 1,024 sequences of 128 tokens in batches of 64. `harvest` need not compute what lies above the
hook, so it is also shown beside a forward pass that stops where it stops.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from models import Dataset, Transformer, TransformerConfig
from workbench.activations import harvest

HOOK = "blocks.0.mlp.hook_post"
LAST_HOOK = "blocks.1.mlp.hook_post"
BATCH = 64


def main(quick: bool = False) -> list[dict]:
    """Rows for the table of `make bench`."""
    model = Transformer(TransformerConfig(n_layers=2, d_model=128, n_heads=4, d_mlp=512, n_ctx=128, d_vocab=2048))
    model.eval()
    tokens = torch.randint(1, 2048, (256 if quick else 1024, 128), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 0
    data = Dataset(tokens)
    with tempfile.TemporaryDirectory() as folder:
        n = iter(range(10**6))
        jobs: dict[str, Callable[[], object]] = {
            "forward pass alone": lambda: _forward(model, tokens),
            "forward pass to the hook's layer": lambda: _forward(model, tokens, stop_at_layer=1),
            "harvest, first layer, float32": lambda: harvest(model, data, [HOOK], Path(folder, str(next(n)))),
            "harvest, first layer, float16": lambda: harvest(
                model, data, [HOOK], Path(folder, str(next(n))), dtype="float16"
            ),
            "harvest, last layer, float32": lambda: harvest(model, data, [LAST_HOOK], Path(folder, str(next(n)))),
            "harvest, last layer, float16": lambda: harvest(
                model, data, [LAST_HOOK], Path(folder, str(next(n))), dtype="float16"
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(3 if quick else 7):
            for name, job in jobs.items():
                start = time.perf_counter()
                job()
                seconds[name].append(time.perf_counter() - start)
    rate = {name: data.n_tokens / statistics.median(times) for name, times in seconds.items()}
    rows = []
    for name, value in rate.items():
        ratio = value / rate["forward pass alone"]
        bar = 0.8 if name.startswith("harvest") else None
        rows.append(
            {
                "name": name,
                "value": value,
                "unit": "tok/s",
                "ratio": ratio,
                "bar": f"≥ {bar}" if bar else None,
                "passed": ratio >= bar if bar else None,
            }
        )
    return rows


@torch.inference_mode()
def _forward(model: Transformer, tokens: torch.Tensor, **kwargs: int) -> None:
    for start in range(0, len(tokens), BATCH):
        model(tokens[start : start + BATCH], **kwargs)


if __name__ == "__main__":
    for row in main():
        print(
            f"{row['name']:40s} {row['value']:12,.0f} {row['unit']}  {row['ratio']:.2f} × forward  {row['bar'] or ''}"
        )
