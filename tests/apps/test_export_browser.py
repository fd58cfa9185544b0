"""The exported site in a real browser, opened from disk: it asks nobody for anything, and does what it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from typechecker import unchecked

from apps.export.__main__ import main

pytestmark = pytest.mark.browser

FEATURES = (3, 0, 17)
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def site(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sites of two runs: `tiny` with three features, and `circuits` with its heads."""
    root = tmp_path_factory.mktemp("export")
    with unchecked():
        features = ["--features", *map(str, FEATURES)]
        assert main(["--run", str(runs_root / "tiny"), "--static", str(root / "tiny"), *features]) == 0
        heads = ["--views", "attention"]
        assert main(["--run", str(runs_root / "circuits"), "--static", str(root / "circuits"), *heads]) == 0
    return root


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test where it asks for anything but its own files, or anything goes wrong in it."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    tab, wrong = context.new_page(), []
    tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    tab.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    tab.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
    yield tab
    context.close()
    assert wrong == []


def first_cells(page: Page) -> list[str]:
    return page.locator("#feature-list tbody tr:visible td:first-child").all_inner_texts()


def test_the_table_sorts_and_is_searched_and_a_link_reopens_it(page: Page, site: Path):
    page.goto((site / "tiny" / "features.html").as_uri())
    assert first_cells(page) == [str(feature) for feature in FEATURES]
    page.get_by_role("button", name="#", exact=True).click()
    assert first_cells(page) == ["0", "3", "17"]
    page.get_by_role("button", name="# ↑").click()
    assert first_cells(page) == ["17", "3", "0"]
    page.get_by_role("button", name="F1", exact=True).click()
    values = [float(v) for v in page.locator("#feature-list tbody td:nth-child(4)").evaluate_all(
        "cells => cells.map((cell) => cell.dataset.by)"
    )]  # fmt: skip
    assert values == sorted(values, reverse=True)
    page.get_by_role("searchbox").fill("17")
    assert "17" in first_cells(page)
    assert len(first_cells(page)) < 3
    shown, address = first_cells(page), page.url
    page.goto("about:blank")
    page.goto(address)
    assert first_cells(page) == shown
    expect(page.get_by_role("searchbox")).to_have_value("17")
    assert page.locator("#feature-list th[aria-sort]").inner_text().startswith("F1")


def test_j_and_k_lead_through_the_features(page: Page, site: Path):
    page.goto((site / "tiny" / "features" / f"{FEATURES[0]}.html").as_uri())
    page.keyboard.press("j")
    page.wait_for_url(f"**/features/{FEATURES[1]}.html")
    page.keyboard.press("j")
    page.wait_for_url(f"**/features/{FEATURES[2]}.html")
    page.keyboard.press("j")  # the last
    page.keyboard.press("k")
    page.wait_for_url(f"**/features/{FEATURES[1]}.html")


def test_tokens_are_reached_by_pointer_and_by_keys(page: Page, site: Path):
    page.goto((site / "tiny" / "features" / f"{FEATURES[0]}.html").as_uri())
    token = page.locator(".strip .text span[data-v]:visible").first
    token.hover()
    expect(page.get_by_role("tooltip")).to_contain_text(token.get_attribute("data-v") or "")
    token.focus()
    assert (token.get_attribute("aria-label") or "").endswith(f", activation {token.get_attribute('data-v')}")
    page.keyboard.press("Home")
    focused = page.locator(".strip .text span:focus")
    expect(focused).to_have_attribute("role", "img")
    stops = page.locator(".strip .text").first.locator('span[tabindex="0"]')
    expect(stops).to_have_count(1)
    page.get_by_role("tab", name="Near misses").click()
    expect(page.locator(".tabs > section:visible")).to_have_count(1)


def test_marks_of_figures_say_what_they_are(page: Page, site: Path):
    page.goto((site / "tiny" / "runs.html").as_uri())
    mark = page.locator('.chart path[aria-label*="explained variance"]').first
    mark.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("explained variance")


def test_attention_is_read_cell_by_cell(page: Page, site: Path):
    page.goto((site / "circuits" / "attention.html").as_uri())
    large = page.locator(".large:visible")
    expect(large).to_have_count(1)
    page.get_by_role("button", name="attention of layer 1, head 1").locator("visible=true").click()
    expect(large).to_have_attribute("aria-label", "attention of layer 1, head 1: arrows move from cell to cell")
    box = large.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    expect(page.locator(".readout:visible")).to_contain_text("0 looks at ⟨start⟩ 0: 1.00")  # it sees nothing else
    large.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".readout:visible")).to_contain_text(" 1 looks at ⟨start⟩ 0: ")


@pytest.mark.parametrize("width", [768, 1440, 2560])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_is_wider_than_its_window(browser: Browser, site: Path, width: int, theme: str):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    for file in ("tiny/index.html", "tiny/features.html", "tiny/runs.html", "circuits/attention.html"):
        page.goto((site / file).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, file
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (theme == "dark")
    context.close()


def test_without_javascript_all_is_there(browser: Browser, site: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "tiny" / "features" / f"{FEATURES[0]}.html").as_uri())
    expect(page.locator(".tabs > section:visible")).to_have_count(3)
    expect(page.locator("svg.chart").first).to_be_visible()
    page.goto((site / "circuits" / "attention.html").as_uri())
    expect(page.locator(".head img").first).to_be_visible()
    context.close()
