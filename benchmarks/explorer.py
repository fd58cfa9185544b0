"""How soon a feature's page appears after the click, in a real browser. Bar: 0.5 s.

    python -m benchmarks.explorer

It reads the run that the benchmark `demo` leaves, else the demo's own (about 600,000 recorded tokens, 2,048 features),
starts the explorer and pages through features with the button "Next" in headless Chromium. A page has appeared when the
new feature's number stands there and the script that draws it has ended, charts and token strips included.
"""

import shutil
import statistics
import subprocess
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from workbench.cli.explore import command
from workbench.features import FeatureIndex
from workbench.runs import Run

RUNS = Path(__file__).parents[1] / "runs"
PORT = 8598
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"
BAR_S = 0.5


def main(quick: bool = False) -> list[dict]:
    """Rows for the table of `make bench`."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise FileNotFoundError("this benchmark needs a Chromium on the PATH.")
    run = next((RUNS / name for name in ("bench-demo", "demo") if (RUNS / name / "features").exists()), None)
    if run is None:
        raise FileNotFoundError("this benchmark needs a run: `make demo` makes one.")
    index = FeatureIndex.open(Run.open(run).find("features").path)
    server = subprocess.Popen(command(run, PORT), stdout=subprocess.PIPE, text=True)
    try:
        for line in server.stdout or []:
            if "http://" in line:
                break
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
            page = chromium.new_page(viewport={"width": 1440, "height": 900})
            seconds = _page_through(page, run.name, 10 if quick else 40)
            chromium.close()
    finally:
        server.terminate()
        server.wait()
    of = f"({index.n_rows:,} tokens, {index.n_features:,} features)"
    median, worst = statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]
    return [
        _row(f"a feature's page after the click, median {of}", median, f"≤ {BAR_S}", median <= BAR_S),
        _row("a feature's page after the click, 95th percentile", worst, None, None),
    ]


def _page_through(page: Page, run: str, n: int) -> list[float]:
    page.goto(f"http://127.0.0.1:{PORT}/features?run={run}&feature=100")
    page.get_by_text("Feature 100", exact=False).first.wait_for(timeout=60_000)
    page.wait_for_selector(IDLE)
    seconds = []
    for _ in range(n + 3):
        before = page.url
        page.wait_for_timeout(300)
        start = time.perf_counter()
        page.get_by_role("button", name="Next Shortcut J").click()
        page.wait_for_function("url => location.href != url", arg=before)
        number = int(page.url.split("feature=")[1].split("&")[0])
        page.get_by_text(f"Feature {number:,}", exact=False).first.wait_for()
        page.wait_for_selector(IDLE)
        seconds.append(time.perf_counter() - start)
    return seconds[3:]  # the first pages fill caches


def _row(name: str, value: float, bar: str | None, passed: bool | None) -> dict:
    return {"name": name, "value": value, "unit": "s", "ratio": None, "bar": bar, "passed": passed}


if __name__ == "__main__":
    for row in main():
        print(f"{row['name']:85s} {row['value']:.3f} {row['unit']} {row['bar'] or '':>6s} {row['passed']}")
