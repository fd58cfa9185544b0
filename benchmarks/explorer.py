"""The explorer in a real browser, on 2M recorded tokens and 16,384 features, and how long an index takes to build.

    python -m benchmarks.explorer

Bars: an index of 1M tokens and 4,096 features at k 32 in 40 s; the first paint of a page 2 s, warm; a feature's page
300 ms in the median and 800 ms at the 95th percentile; a filter or another order of the table 200 ms; a prompt of 256
tokens in the lab 700 ms; 1.2 GB of the server's own memory with ten tabs open, and twenty tabs that page for five
minutes without an error.

Something has appeared when what was asked for stands there and the script that draws it has ended, charts and token
strips included; each time has the way from the click through server and browser in it, all on the same two cores. The
browser itself takes the time, from the click it hears: a driver that finds and moves to a button first is not in it.
"""

import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.bars import row, show
from benchmarks.explorer_subject import MLP, RESIDUAL, RUN, WIDE, built, subject
from workbench.cli.explore import command
from workbench.features import FeatureIndex
from workbench.runs import Run

PORT = 8598
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"
TABS, PAGING_TABS, SOAK_S = 10, 20, 300.0
SIZE = {"width": 1440, "height": 900}
# When the last click or key was heard, and when the script that it started had ended.
STOPWATCH = """() => {
    const app = document.querySelector("[data-testid=stApp]"), state = () => app.dataset.testScriptState
    const heard = () => { window.begun = performance.now(); window.ended = null }
    document.addEventListener("click", heard, true)
    document.addEventListener("keydown", (event) => event.key == "Enter" && heard(), true)
    new MutationObserver(() => { window.ended = state() == "notRunning" ? performance.now() : null })
        .observe(app, {attributes: true, attributeFilter: ["data-test-script-state"]})
}"""


def main(quick: bool = False) -> list[dict]:
    """Rows for the table of `make bench`."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise FileNotFoundError("this benchmark needs a Chromium on the PATH.")
    rows = [] if quick else _building()
    made, _ = built(WIDE)
    index = FeatureIndex.open(made.path)
    live = index.table.loc[~index.table["dead"], "feature"].tolist()
    with _server() as server, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        of = f"({index.n_rows:,} tokens, {index.n_features:,} features)"
        rows += _pages(chromium, live, 10 if quick else 40, of)
        rows += _tabs(chromium, server, live, 20.0 if quick else SOAK_S)
        chromium.close()
    return rows


def _building() -> list[dict]:
    subject()
    rows = []
    for name in (RESIDUAL, MLP):
        found, seconds = built(name, again=True)
        made, width = found.manifest.config["results"], Run.open(RUN).find("sae", name).manifest.config["sae"]["d_in"]
        of = f"({made['n_rows']:,} tokens × {width}, {made['n_features']:,} features)"
        rows += [
            row(f"building an index {of}", seconds, "s", bar=40, at_most=True),
            row(f"the same, for 1,000 features {of}", 1000 * seconds / made["n_features"], "s"),
        ]
    return rows


@contextmanager
def _server() -> Iterator[psutil.Process]:
    """The explorer as it is started by hand."""
    server = subprocess.Popen(command(RUN, PORT), stdout=subprocess.PIPE, text=True)
    try:
        for line in server.stdout or []:
            if "http://" in line:
                break
        yield psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def _address(page: str = "features", **parameters: object) -> str:
    asked = "&".join(f"{name}={value}" for name, value in {"run": RUN.name, "index": WIDE, **parameters}.items())
    return f"http://127.0.0.1:{PORT}/{page}?{asked}"


def _pages(chromium: Browser, live: list[int], n: int, of: str) -> list[dict]:
    tab = chromium.new_page(viewport=SIZE)
    first = [_first_paint(tab) for _ in range(6)][1:]  # the very first opens the index
    feature = _page_through(tab, live, n)
    order = _orders(tab, max(5, n // 4))
    lab = _prompts(tab, max(5, n // 4))
    tab.close()
    return [
        row(f"first paint of the features' table, warm {of}", statistics.median(first), "s", bar=2, at_most=True),
        row("a feature's page after the click, median", statistics.median(feature), "s", bar=0.3, at_most=True),
        row("a feature's page after the click, 95th percentile", _worst(feature), "s", bar=0.8, at_most=True),
        row("another order or filter of the table, median", statistics.median(order), "s", bar=0.2, at_most=True),
        row("256 tokens in the prompt lab, median", statistics.median(lab), "s", bar=0.7, at_most=True),
    ]


def _worst(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


def _first_paint(tab: Page) -> float:
    start = time.perf_counter()
    tab.goto(_address())
    tab.get_by_text(re.compile("features listed")).first.wait_for(timeout=120_000)
    tab.wait_for_selector(IDLE)
    return time.perf_counter() - start


def _page_through(tab: Page, live: list[int], n: int) -> list[float]:
    """With the button "Next", which the key J presses too."""
    tab.goto(_address(feature=live[len(live) // 2], sort="number"))
    tab.get_by_text(re.compile(r"Feature [\d,]+")).first.wait_for(timeout=120_000)
    tab.wait_for_selector(IDLE)
    tab.evaluate(STOPWATCH)
    seconds = []
    for _ in range(n + 3):
        before = tab.url
        tab.wait_for_timeout(300)
        tab.get_by_role("button", name="Next").first.click()
        tab.wait_for_function("url => location.href != url", arg=before)
        number = int(tab.url.split("feature=")[1].split("&")[0])
        tab.get_by_text(f"Feature {number:,}", exact=False).first.wait_for()
        seconds.append(_elapsed(tab))
    return seconds[3:]  # the first pages fill caches


def _elapsed(tab: Page) -> float:
    """Seconds from the last click or key to the end of the last script; once nothing runs any more."""
    tab.wait_for_function("window.ended && performance.now() - window.ended > 150")
    return tab.evaluate("(window.ended - window.begun) / 1000")


def _orders(tab: Page, n: int) -> list[float]:
    """By clicks on two headings in turn: each asks for the table anew."""
    _first_paint(tab)
    tab.evaluate(STOPWATCH)
    seconds = []
    for i in range(n + 2):
        words = ("fires on", "max")[i % 2]
        tab.wait_for_timeout(300)
        before = tab.url
        tab.get_by_role("button", name=words, exact=True).or_(tab.locator("th", has_text=words)).first.click()
        tab.wait_for_function("url => location.href != url", arg=before)
        seconds.append(_elapsed(tab))
    return seconds[2:]


def _prompts(tab: Page, n: int) -> list[float]:
    """Texts of about 256 tokens, none read before, pasted into the lab."""
    tab.goto(_address("prompt_lab"))
    tab.wait_for_selector(IDLE)
    tab.evaluate(STOPWATCH)
    box = tab.locator("textarea").first
    seconds = []
    for i in range(n + 2):
        text = f"def f{i}(self, x):\n" + "".join(f"    a{i} = self.b[{j}] + x\n" for j in range(19))
        tab.wait_for_timeout(300)
        box.fill(text)
        box.press("Control+Enter")
        tab.get_by_text(re.compile(rf"f{i}")).first.wait_for()
        seconds.append(_elapsed(tab))
    return seconds[2:]


def _tabs(chromium: Browser, server: psutil.Process, live: list[int], seconds: float) -> list[dict]:
    """Ten tabs at rest, then twenty that page on: the server's own memory, pages shown, and what went wrong."""
    tabs = [chromium.new_page(viewport=SIZE) for _ in range(PAGING_TABS)]
    wrong: list[str] = []
    for tab in tabs:
        tab.on("pageerror", lambda error: wrong.append(str(error)))
    for i, tab in enumerate(tabs[:TABS]):
        tab.goto(_address(feature=live[i * 7]))
        tab.wait_for_selector(IDLE, timeout=60_000)
    resting = _own(server)
    for i, tab in enumerate(tabs):
        tab.goto(_address(feature=live[i * 11], sort="number"))
    end, shown, most = time.perf_counter() + seconds, 0, resting
    while time.perf_counter() < end:
        for tab in tabs:
            tab.get_by_role("button", name="Next").first.click(timeout=60_000)
        for tab in tabs:
            tab.wait_for_selector(IDLE, timeout=60_000)
            shown += 1
            if tab.locator("[data-testid=stException], [data-testid=stAlertContentError]").count():
                wrong.append(tab.url)
        most = max(most, _own(server))
    for tab in tabs:
        tab.close()
    return [
        row(f"server's own memory, {TABS} tabs", resting / 1e9, "GB", bar=1.2, at_most=True),
        row(f"server's own memory, {PAGING_TABS} tabs paging, at most", most / 1e9, "GB"),
        row(f"pages that {PAGING_TABS} tabs showed in {seconds:.0f} s", shown, "pages"),
        row("errors in them", len(wrong), "", bar=0, at_most=True),
    ]


def _own(server: psutil.Process) -> int:
    """Bytes that the server and what it started hold for themselves: files that are mapped are not among them."""
    return sum(p.memory_info().rss - p.memory_info().shared for p in [server, *server.children(recursive=True)])


if __name__ == "__main__":
    show(main())
