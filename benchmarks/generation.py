"""Generation with the key–value cache, beside reading the whole sequence again for every new token.

Both go on greedily from the same prompts with the same weights, taking turns, and must give the same tokens.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.transformer import Transformer, TransformerConfig

N_NEW, BATCH, PROMPT = 256, 16, 8
SHAPE = {"n_layers": 4, "d_model": 256, "n_heads": 8, "n_ctx": PROMPT + N_NEW, "d_vocab": 2048}
BAR = 3.0
CACHED, PLAIN = "with the cache", "without"


@torch.no_grad()
def uncached(model: Transformer, tokens: Tensor) -> Tensor:
    """The likeliest tokens, each from a run over all before it."""
    for _ in range(N_NEW):
        tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], 1)
    return tokens


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    torch.set_num_threads(2)
    model = Transformer(TransformerConfig(**SHAPE)).eval()
    prompts = torch.randint(1, SHAPE["d_vocab"], (BATCH, PROMPT), generator=torch.Generator().manual_seed(0))
    prompts[:, 0] = 0
    jobs: dict[str, Callable[[], Tensor]] = {
        CACHED: lambda: model.generate(prompts, N_NEW),
        PLAIN: lambda: uncached(model, prompts),
    }
    model.generate(prompts, 8)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(1 if quick else 3):
        made = {}
        for name, job in jobs.items():
            start = time.perf_counter()
            made[name] = job()
            seconds[name].append(time.perf_counter() - start)
        if not torch.equal(made[CACHED], made[PLAIN]):
            raise RuntimeError("the tokens made with the cache are not those made without it.")
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = median[PLAIN] / median[CACHED]
    rows = [
        {
            "name": f"generation, {name}",
            "value": BATCH * N_NEW / median[name],
            "unit": "tokens/s",
            "ratio": ratio if name == CACHED else None,
            "bar": BAR if name == CACHED else None,
            "passed": ratio >= BAR if name == CACHED else None,
        }
        for name in jobs
    ]
    for row in rows:
        versus = "" if row["ratio"] is None else f"{row['ratio']:.1f} × (bar {row['bar']})"
        print(f"{row['name']:<30}{row['value']:>10,.0f} {row['unit']}  {versus}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
