"""One training of a sparse autoencoder by one library, on rows that lie in a file.

    python -m benchmarks.sae_worker REQUEST

REQUEST is the JSON of a `Job`. Prints one line of JSON: tokens per second, and of the last batch, which nobody trains
on, what is explained and the mean number of active latents; for ours also the share of the time that the encoder's
product takes.

It runs in the interpreter of the library it measures. `sae_LIBRARY` gives

    train(job, batches) -> a function from rows to (codes, reconstructions), both dense.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

LR = 3e-3
# Steps that are not timed: what is measured of the first rows, on up to four batches that are read ahead and trained on
# afterwards, and memory that is new.
UNTIMED = 5


@dataclass
class Job:
    """What is trained: `n` at once; if `busy`, on one thread and by the processor's time."""

    library: str
    architecture: str
    rows: str
    steps: int
    d_in: int
    d_sae: int
    k: int
    batch: int
    n: int = 1
    busy: bool = False


class Batches(Iterator[torch.Tensor]):
    """The batches again and again; when each was asked for tells how long a step takes, whoever takes it."""

    def __init__(self, rows: torch.Tensor, clock: Callable[[], float]) -> None:
        self.rows, self.clock, self.asked = rows, clock, []

    def __next__(self) -> torch.Tensor:
        self.asked.append(self.clock())
        return self.rows[(len(self.asked) - 1) % len(self.rows)]

    def step_seconds(self, steps: int) -> float:
        """The mean over the last steps; those read ahead of the first step are not among them."""
        asked = self.asked[-(steps - UNTIMED) :]
        return (asked[-1] - asked[0]) / (len(asked) - 1)


def main() -> None:
    """Train once and report."""
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(1 if job.busy else 2)
    torch.manual_seed(0)
    rows = torch.from_numpy(np.load(job.rows))
    batches, held_out = Batches(rows[:-1], time.process_time if job.busy else time.perf_counter), rows[-1]
    library = importlib.import_module(f"benchmarks.sae_{job.library}")
    rebuild = library.train(job, batches)
    seconds = batches.step_seconds(job.steps)
    with torch.no_grad():
        codes, rebuilt = rebuild(held_out)
    variance = (held_out - held_out.mean(0)).square().sum()
    report = {
        "tokens_per_s": job.batch / seconds,
        "explained_variance": 1 - ((held_out - rebuilt).square().sum() / variance).item(),
        "l0": (codes > 0).sum(1).float().mean().item(),
    }
    if hasattr(library, "product_seconds"):
        report["product_share"] = library.product_seconds(job, held_out, batches.clock) / seconds
    print(json.dumps(report))


if __name__ == "__main__":
    main()
