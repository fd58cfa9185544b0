"""`make demo` from nothing, set-up included. Bars: at most 8 minutes and 4 GB on two cores.

    python -m benchmarks.demo

A virtual environment and a run are made anew, so nothing that is already there helps; the run is left for the
explorer's benchmark. Memory is the sum over all processes of what each holds for itself, sampled every half second.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import psutil

HOUSE = Path(__file__).parents[1]
RUN = HOUSE / "runs" / "bench-demo"


def main(quick: bool = False) -> list[dict]:
    """Rows for the table of `make bench`; there is no quick way to do this one."""
    shutil.rmtree(RUN, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
        command = ["make", "demo", f"VENV={folder}/venv", f"RUN={RUN}"]
        start = time.perf_counter()
        with Path(folder, "log").open("w") as log:
            demo = subprocess.Popen(
                command, cwd=HOUSE, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            peak = _watch(demo)
        seconds = time.perf_counter() - start
        story = Path(folder, "log").read_text()
        print(story)
        if demo.returncode:
            raise RuntimeError(f"make demo ended with exit code {demo.returncode}")
        answering = _answers_and_stop(story)
    return [
        _row("make demo, set-up included", seconds, "s", "≤ 480", seconds <= 480),
        _row("make demo, peak memory of all processes", peak / 1e9, "GB", "≤ 4", peak <= 4e9),
        _row("the explorer answers when it ends", 1.0 * answering, "", "1", answering),
    ]


def _watch(demo: subprocess.Popen) -> float:
    """Peak memory, in bytes, of a process and all that it starts."""
    peak = 0.0
    while demo.poll() is None:
        total = 0
        try:
            tree = [psutil.Process(demo.pid), *psutil.Process(demo.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        for process in tree:
            try:
                total += process.memory_info().rss - process.memory_info().shared
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        peak = max(peak, total)
        time.sleep(0.5)
    demo.wait()
    return peak


def _answers_and_stop(story: str) -> bool:
    words = story.replace("`", " ").split()
    address = next(word.rstrip(";") for word in words if word.startswith("http://"))
    with urlopen(f"{address}/_stcore/health", timeout=10) as reply:
        answering = reply.status == 200
    psutil.Process(int(words[words.index("kill") + 1])).terminate()
    return answering


def _row(name: str, value: float, unit: str, bar: str, passed: bool) -> dict:
    return {"name": name, "value": value, "unit": unit, "ratio": None, "bar": bar, "passed": passed}


if __name__ == "__main__":
    for row in main():
        print(f"{row['name']:45s} {row['value']:8.2f} {row['unit']:3s} {row['bar']:>6s} {row['passed']}")
