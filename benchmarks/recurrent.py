"""Recurrent layers: fused against PyTorch's own, the hooked path against the fused one, and minGRU's forms.

    python -m benchmarks.recurrent

Bars: one layer inside `Recurrent` trains at 0.95 × PyTorch's own at least, and with a hook at every step takes at
most 3 × the fused time; d 128, 32 sequences of 128 steps. Each step is a forward and a backward pass over the layer's
output; all take turns, so that what else the machine does falls on everybody.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models import Recurrent, RecurrentConfig
from models.cells.mingru import FORMS

D, BATCH, TIME = 128, 32, 128
KERNELS: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
FUSED_BAR, EXPLICIT_BAR = 0.95, 3.0


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    rows = [row for device in devices for row in [*_kernels(device, quick), *_forms(device, quick)]]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:6.2f}"
        print(f"{row['name']:<52}{row['value']:>9.2f} {row['unit']:<6}{ratio:>8}  {row['bar'] or ''}")
    return rows


def _subject(device: str, **kwargs: Any) -> Recurrent:
    return Recurrent(RecurrentConfig(d_model=D, d_in=D, d_out=1, device=device, **kwargs)).train()


def _kernels(device: str, quick: bool) -> list[dict[str, Any]]:
    x = torch.randn(BATCH, TIME, D, device=device, requires_grad=True)
    jobs: dict[str, Callable[[], Tensor]] = {}
    for cell, kind in KERNELS.items():
        own = kind(D, D, batch_first=True).to(device)
        model = _subject(device, cell=cell)
        jobs[f"{cell}, torch.nn.{kind.__name__}"] = lambda own=own: own(x)[0]
        jobs[f"{cell}, Recurrent"] = lambda model=model: model.blocks[0](x, None, None)[0]
        jobs[f"{cell}, Recurrent, hook_h attached"] = lambda model=model: _hooked(model, x, "blocks.0.rnn.hook_h")
        jobs[f"{cell}, Recurrent, every hook attached"] = lambda model=model: _hooked(model, x, lambda n: ".rnn." in n)
    times = _take_turns(jobs, device, 4 if quick else 30)
    rows = []
    for cell, kind in KERNELS.items():
        own, fused = times[f"{cell}, torch.nn.{kind.__name__}"], times[f"{cell}, Recurrent"]
        rows.append(_row(f"{cell}, torch.nn.{kind.__name__}, {device}", own))
        # The bars speak of lstm and gru; the plain network is shown beside them.
        judged = cell != "rnn"
        rows.append(_row(f"{cell}, Recurrent, {device}", fused, own / fused, FUSED_BAR if judged else None))
        for hooks in ("hook_h attached", "every hook attached"):
            taken = times[f"{cell}, Recurrent, {hooks}"]
            bar = EXPLICIT_BAR if judged and hooks == "hook_h attached" else None
            rows.append(_row(f"{cell}, Recurrent, {hooks}, {device}", taken, taken / fused, bar, at_most=True))
    return rows


def _forms(device: str, quick: bool) -> list[dict[str, Any]]:
    x = torch.randn(BATCH, TIME, D, device=device, requires_grad=True)
    jobs: dict[str, Callable[[], Tensor]] = {}
    for form in (*FORMS, None):
        model = _subject(device, cell="mingru", mingru_form=form)
        name = form or "the default"
        jobs[name] = lambda model=model: model.blocks[0](x, None, None)[0]
    times = _take_turns(jobs, device, 4 if quick else 30)
    fastest = min(times[form] for form in FORMS)
    # Within a tenth: two forms may be equally fast.
    return [
        _row(f"mingru, {name}, {device}", taken, taken / fastest, 1.1 if name == "the default" else None, at_most=True)
        for name, taken in times.items()
    ]


def _hooked(model: Recurrent, x: Tensor, names: Any) -> Tensor:
    with model.hooks([(names, lambda value, hook: None)]):
        return model.blocks[0](x, None, None)[0]


def _take_turns(jobs: dict[str, Callable[[], Tensor]], device: str, n: int) -> dict[str, float]:
    """Median milliseconds of a forward and backward pass of each job."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    names = list(jobs)
    for i in range(n + 2):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            jobs[name]().square().mean().backward()
            if device == "cuda":
                torch.cuda.synchronize()
            if i >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def _row(
    name: str, value: float, ratio: float | None = None, bar: float | None = None, at_most: bool = False
) -> dict[str, Any]:
    passed = None if bar is None or ratio is None else (ratio <= bar if at_most else ratio >= bar)
    sign = "≤" if at_most else "≥"
    return {
        "name": name,
        "value": value,
        "unit": "ms",
        "ratio": ratio,
        "bar": None if bar is None else f"{sign} {bar}",
        "passed": passed,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
