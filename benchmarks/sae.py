"""How fast sparse autoencoders are trained, beside SAELens, dictionary_learning and sparsify on the same rows.

    python -m benchmarks.sae [--quick] [--busy] [PART ...]

Parts: one for each architecture, at d_in 256, 4,096 latents, k 32; `four` (four topk SAEs on one reading of the rows);
`wide` (topk at 16,384 and 65,536 latents); `demo` (topk at the demo's shape, 512 → 2,048, k 12). Each library trains in
a process of its own, in turn, on two threads, in float32, with the same rows, steps, batch size of 4,096 and peak
learning rate; a speed is the median over the rounds, and the first round, which is longer, tells what the SAEs explain
of rows that nobody trained on, and the mean number of latents that are active in one. Bars hold ratios of speeds; and
where k fixes how many latents are active, ours may explain 0.005 less than a peer. On a machine that does other work
too, `--busy` compares one thread each by the processor's time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.bars import row, show
from benchmarks.peers import dictionary_learning_python, saelens_python, sparsify_python
from benchmarks.sae_worker import Job

BATCH = 4096
# Batches that are made; the trainings go round in them.
DISTINCT = 24
SHAPE, DEMO = (256, 4096, 32), (512, 2048, 12)
WIDE = (16_384, 65_536)
TITLES = {"saelens": "SAELens 6.54", "dictionary_learning": "dictionary_learning 0.1", "sparsify": "sparsify 1.3"}
PYTHONS = {"saelens": saelens_python, "dictionary_learning": dictionary_learning_python, "sparsify": sparsify_python}
# How many times as fast as each peer; None where it is only told.
BARS: dict[str, dict[str, float | None]] = {
    "topk": {"saelens": 5.0, "dictionary_learning": None, "sparsify": 1.6},
    "batchtopk": {"saelens": 7.0, "dictionary_learning": 4.0},
    "matryoshka_batchtopk": {"saelens": 3.0, "dictionary_learning": 3.0},
    "jumprelu": {"saelens": 1.4},
    "standard": {"saelens": 1.4},
    "gated": {"saelens": None},
}
FIXED_L0 = ("topk", "batchtopk", "matryoshka_batchtopk")
BAR_VARIANCE, BAR_FOUR, BAR_DEMO = -0.005, 4.05, 3.0
# Two million rows within a minute.
BAR_DEMO_TOKENS_PER_S = 2_000_000 / 60
PARTS = (*BARS, "four", "wide", "demo")


class Place(NamedTuple):
    """Where the rows lie, and how it is timed."""

    folder: Path
    busy: bool = False


def main(quick: bool = False, parts: Sequence[str] = PARTS, busy: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    rounds = (12,) if quick else (60, 15, 15)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name), busy)
        for part in parts:
            if part in BARS:
                found = _beside(f"sae: {part}", part, SHAPE, BARS[part], rounds, place)
            else:
                found = {"four": _four, "wide": _wide, "demo": _demo}[part](rounds, place)
            show(found)
            rows += found
    return rows


def demo_speed(steps: int) -> float:
    """How many rows a second our topk takes at the demo's shape."""
    with tempfile.TemporaryDirectory() as folder:
        return _train("ours", "topk", DEMO, steps, Place(Path(folder)))["tokens_per_s"]


def _beside(
    what: str,
    architecture: str,
    shape: tuple[int, int, int],
    bars: dict[str, float | None],
    rounds: Sequence[int],
    place: Place,
) -> list[dict[str, Any]]:
    """One architecture of ours, and of each peer."""
    found: dict[str, list[dict[str, float]]] = {library: [] for library in ("ours", *bars)}
    for steps in rounds:
        for library, results in found.items():
            results.append(_train(library, architecture, shape, steps, place))
    speed = {name: statistics.median(result["tokens_per_s"] for result in results) for name, results in found.items()}
    first = {name: results[0] for name, results in found.items()}
    rows = [row(what, speed["ours"], "tokens/s")]
    rows += [
        row(f"{what}, {TITLES[peer]}", speed[peer], "tokens/s", speed["ours"] / speed[peer], bar)
        for peer, bar in bars.items()
    ]
    for name, result in first.items():
        title = f"{what}, explained variance" + ("" if name == "ours" else f" of {TITLES[name]}")
        rows.append(row(f"{title} (L0 {result['l0']:.1f})", result["explained_variance"], ""))
    if architecture in FIXED_L0:
        best = max(first[peer]["explained_variance"] for peer in bars)
        less = first["ours"]["explained_variance"] - best
        rows.append(row(f"{what}, explained variance, ours − the best peer's", less, "", bar=BAR_VARIANCE))
    return rows


def _four(rounds: Sequence[int], place: Place) -> list[dict[str, Any]]:
    """Four topk SAEs on one reading of the rows against one."""
    seconds: dict[int, list[float]] = {1: [], 4: []}
    for steps in rounds:
        for n, results in seconds.items():
            results.append(BATCH / _train("ours", "topk", SHAPE, steps, place, n)["tokens_per_s"])
    one, four = (statistics.median(results) for results in seconds.values())
    return [row("sae: a step of four topk SAEs against one", 1000 * four, "ms", four / one, BAR_FOUR, at_most=True)]


def _wide(rounds: Sequence[int], place: Place) -> list[dict[str, Any]]:
    """topk with many latents: how far ahead, and what share of a step the encoder's product is."""
    rows = []
    for d_sae in WIDE:
        shape = (SHAPE[0], d_sae, SHAPE[2])
        libraries = ("ours", "sparsify", "saelens")
        results = {
            library: _train(library, "topk", shape, 10 if len(rounds) == 1 else 12, place) for library in libraries
        }
        ours = results["ours"]["tokens_per_s"]
        what = f"sae: topk, {d_sae:,} latents"
        rows.append(row(what, ours, "tokens/s"))
        rows.append(row(f"{what}, share of the encoder's product", results["ours"]["product_share"], ""))
        for peer in libraries[1:]:
            speed = results[peer]["tokens_per_s"]
            rows.append(row(f"{what}, {TITLES[peer]}", speed, "tokens/s", ours / speed))
    return rows


def _demo(rounds: Sequence[int], place: Place) -> list[dict[str, Any]]:
    """The demo's shape, in which two million rows are to be trained on within a minute."""
    rows = _beside("sae: the demo's topk", "topk", DEMO, {"saelens": BAR_DEMO}, rounds, place)
    ours = rows[0]["value"]
    return [row(rows[0]["name"], ours, "tokens/s", ours / BAR_DEMO_TOKENS_PER_S, 1.0), *rows[1:]]


def _train(
    library: str, architecture: str, shape: tuple[int, int, int], steps: int, place: Place, n: int = 1
) -> dict[str, float]:
    """What `sae_worker` reports of one training."""
    d_in, d_sae, k = shape
    job = Job(library, architecture, str(_rows(place.folder, d_in, k)), steps, d_in, d_sae, k, BATCH, n, place.busy)
    python = Path(sys.executable) if library == "ours" else PYTHONS[library]()
    # -P and the path: this folder's own modules must not stand in for the library's.
    command = [python, "-P", "-m", "benchmarks.sae_worker", json.dumps(asdict(job))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "SPARSIFY_DISABLE_TRITON": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"training by {library} failed: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    told = ", ".join(f"{name} {value:,.4g}" for name, value in found.items())
    print(f"  {architecture} × {n}, {d_sae} latents, {steps} steps, {library}: {told}", flush=True)
    return found


def _rows(folder: Path, d_in: int, active: int, seed: int = 0) -> Path:
    """[DISTINCT + 1, BATCH, d_in]: sums of few of 4·d_in unit directions whose frequencies follow Zipf's law."""
    path = folder / f"rows_{d_in}_{active}.npy"
    if path.exists():
        return path
    generator = torch.Generator().manual_seed(seed)
    n_features = 4 * d_in
    directions = torch.nn.functional.normalize(torch.randn(n_features, d_in, generator=generator), dim=1)
    frequency = 1 / torch.arange(1, n_features + 1)
    rows = torch.empty(DISTINCT + 1, BATCH, d_in)
    for batch in rows:
        chosen = torch.multinomial(frequency.expand(BATCH, -1), active, generator=generator)
        strength = 0.5 + torch.rand(BATCH, active, generator=generator)
        batch.copy_(torch.nn.functional.embedding_bag(chosen, directions, per_sample_weights=strength, mode="sum"))
    np.save(path, rows.numpy())
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=PARTS, help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--busy", action="store_true", help="one thread each, by the processor's time")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    main(args.quick, args.parts, args.busy)
