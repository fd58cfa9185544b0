"""The explorer in a real browser: what a person does first, and what only a browser can show."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tiny_run import WICKED

pytestmark = pytest.mark.browser

PROMPT = "def make_1(self, value):\n    return self.total"
PATIENCE_S = 90
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def address(runs_root: Path) -> Iterator[str]:
    """The explorer, served as `workbench explore` serves it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-P", "-m", "apps", "--run", str(runs_root / "tiny"), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert server.stdout is not None
    said = ""
    while not (found := re.search(r"http://\S+", said)):
        line = server.stdout.readline()
        assert line, f"the explorer ended before it answered: {said}"
        said += line
    yield found[0]
    server.terminate()
    server.wait(timeout=20)


@pytest.fixture(params=["light"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that fails its test if anything goes wrong behind it or reaches outside this machine."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, color_scheme=request.param)
    # A machine that is busy with something else is slow, not wrong.
    context.set_default_timeout(PATIENCE_S * 1000)
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    tab.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}") if "127.0.0.1" not in r.url else None)
    tab.on("console", lambda m: wrong.append(m.text) if m.type == "error" and "404" not in m.text else None)
    # Below a page's own path Streamlit looks for its server there first, and is told 404.
    tab.on("response", lambda r: wrong.append(r.url) if r.status >= 400 and "/_stcore/" not in r.url else None)
    yield tab
    context.close()
    assert wrong == []


def settled(page: Page) -> Page:
    """Wait until Streamlit has drawn everything: nothing runs, and what is there stays as it is."""
    main, drawn = page.locator("[data-testid=stMainBlockContainer]"), ""
    for _ in range(PATIENCE_S):
        page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=PATIENCE_S * 1000)
        before, drawn = drawn, main.inner_text() if main.count() else ""
        if drawn and drawn == before:
            break
        page.wait_for_timeout(300)
    return page


def visit(page: Page, url: str) -> Page:
    page.goto(url)
    return settled(page)


def tokens(page: Page):
    return page.locator(".st-key-prompt_strip .token")


def read(page: Page, text: str) -> None:
    """Type a prompt and have it read."""
    box = page.locator("textarea")
    box.fill(text)
    box.press("Control+Enter")
    expect(tokens(page).nth(1)).to_be_visible()
    settled(page)


def test_a_prompt_a_token_a_feature_and_its_link(page: Page, address: str) -> None:
    visit(page, f"{address}/prompt_lab")
    read(page, PROMPT)
    expect(page.get_by_text("coloured by loss")).to_be_visible()
    shown = "".join(tokens(page).all_inner_texts()[1:]).replace("\n", "")
    assert shown == PROMPT.replace(" ", "·").replace("\n", "↵")
    tokens(page).nth(3).click()
    expect(page.get_by_role("heading", name=re.compile("^Token 3"))).to_be_visible()
    settled(page)
    assert "token=3" in page.url
    lab = page.url
    link = page.locator("td.text a").first
    name = link.inner_text()
    link.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name.replace("…", ""))
    settled(page)
    feature = page.url
    assert re.search(r"/features\?.*feature=\d+", feature)
    assert "run=tiny" in feature
    assert "index=small" in feature
    before = page.locator("[data-testid=stMainBlockContainer]").inner_text()
    visit(page, feature)
    assert page.locator("[data-testid=stMainBlockContainer]").inner_text() == before
    visit(page, lab)
    expect(page.locator("textarea")).to_have_value(PROMPT)
    expect(page.get_by_role("heading", name=re.compile("^Token 3"))).to_be_visible()


def test_going_back_goes_back(page: Page, address: str) -> None:
    visit(page, f"{address}/features")
    page.locator("td.text a").first.click()
    expect(page.get_by_role("heading", name="Where it fires")).to_be_visible()
    first = settled(page).url
    page.get_by_role("button", name="Next Shortcut J").click()
    expect(page.get_by_text(re.compile("^2 of"))).to_be_visible()
    assert settled(page).url != first
    page.go_back()
    expect(page.get_by_text(re.compile("^1 of"))).to_be_visible()
    settled(page).go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Features")


def test_headings_sort_and_the_link_keeps_the_order(page: Page, address: str) -> None:
    visit(page, f"{address}/features")
    page.get_by_role("button", name="fires on").click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("fires on")
    settled(page).get_by_role("button", name="fires on").click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("fires on")
    numbers = settled(page).locator("tbody tr td:first-child").all_inner_texts()
    link = page.url
    assert "sort=density" in link
    assert "reverse=true" in link
    visit(page, link)
    assert page.locator("tbody tr td:first-child").all_inner_texts() == numbers


def test_searching_narrows_the_list_as_one_types(page: Page, address: str) -> None:
    visit(page, f"{address}/features")
    everything = page.locator("tbody tr").count()
    page.get_by_label("Search").press_sequentially("return")
    page.wait_for_url(re.compile("q=return"))
    expect(page.locator("tbody tr")).not_to_have_count(everything)
    for row in settled(page).locator("tbody tr").all_inner_texts():
        assert "return" in row


def test_a_script_in_a_prompt_is_inert(page: Page, address: str) -> None:
    visit(page, f"{address}/prompt_lab")
    read(page, WICKED)
    assert "".join(tokens(page).all_inner_texts()[1:]) == WICKED.replace(" ", "·")
    for i in range(tokens(page).count()):
        tokens(page).nth(i).hover()
    assert page.evaluate("window.wicked") is None
    tokens(page).nth(1).click()
    expect(page.get_by_role("heading", name=re.compile("^Token 1"))).to_be_visible()
    assert page.evaluate("window.wicked") is None


def test_markdown_in_a_token_stays_text(page: Page, address: str) -> None:
    visit(page, f"{address}/prompt_lab?prompt=%3Amaterial%2Fhome%3A+%24x%24&token=1")
    heading = page.get_by_role("heading", name=re.compile("^Token 1"))
    expect(heading).to_contain_text(":")
    assert heading.locator("[data-testid=stIconMaterial], .katex, a[target]").count() == 0


def test_hover_and_arrows_read_tokens_without_a_rerun(page: Page, address: str) -> None:
    visit(page, f"{address}/prompt_lab?prompt=return+self.total")
    page.evaluate(
        """() => {
          window.runs = 0
          const app = document.querySelector('[data-testid=stApp]')
          new MutationObserver(() => { window.runs += 1 }).observe(app, {attributeFilter: ['data-test-script-state']})
        }"""
    )
    note = page.locator(".note:visible")
    tokens(page).nth(1).hover()
    expect(note).to_contain_text("nats")
    expect(note).to_contain_text("expected next")
    page.mouse.move(0, 0)
    expect(note).to_have_count(0)
    tokens(page).first.focus()
    for i in (1, 2):
        page.keyboard.press("ArrowRight")
        expect(tokens(page).nth(i)).to_be_focused()
    expect(note).to_contain_text(tokens(page).nth(2).inner_text())
    page.keyboard.press("End")
    expect(tokens(page).last).to_be_focused()
    page.keyboard.press("Home")
    expect(tokens(page).first).to_be_focused()
    assert page.evaluate("window.runs") == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^Token 1:"))).to_be_visible()
    expect(tokens(page).nth(1)).to_have_attribute("aria-pressed", "true")
    expect(tokens(page).nth(1)).to_be_focused()


def test_heads_are_chosen_and_read(page: Page, address: str) -> None:
    visit(page, f"{address}/prompt_lab?prompt=return+self.total")
    page.get_by_role("button", name="layer 1, head 1").click()
    expect(page.get_by_text(re.compile("^Where head 1.1 looks"))).to_be_visible()
    settled(page)
    assert "layer=1" in page.url
    assert "head=1" in page.url
    page.locator("canvas.large").focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".readout")).to_contain_text("looks at")


def test_units_are_chosen_and_their_states_read(page: Page, address: str) -> None:
    visit(page, f"{address}/states?run=gru&prompt=return+self.total")
    strip = page.locator(".st-key-state_strip .token")
    expect(page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")).to_have_count(1)
    strip.nth(2).click()
    expect(page.get_by_role("heading", name=re.compile("^Token 2"))).to_be_visible()
    assert "token=2" in settled(page).url
    page.locator(".st-key-state_units").get_by_role("link", name="colour").first.click()
    page.wait_for_url(re.compile(r"unit=\d+"))
    unit = re.search(r"unit=(\d+)", settled(page).url)[1]
    expect(page.get_by_text(f"hidden state h, unit {unit}")).to_be_visible()
    expect(page.get_by_role("heading", name=f"Unit {unit} at token 2")).to_be_visible()
    page.get_by_role("radio", name="update").click()
    expect(page.get_by_text(f"coloured by the update gate, unit {unit}")).to_be_visible()
    assert "value=update" in settled(page).url
    label = strip.nth(2).get_attribute("aria-label")
    link = page.url
    visit(page, link)
    expect(strip.nth(2)).to_have_attribute("aria-label", label)
    expect(strip.nth(2)).to_have_attribute("aria-pressed", "true")


def test_a_label_is_chosen_and_its_link_reopens_it(page: Page, address: str) -> None:
    visit(page, f"{address}/probes?run=probed")
    drawn = page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")
    expect(drawn).to_have_count(1)
    page.get_by_text("control task", exact=True).first.click()
    page.wait_for_url(re.compile("beside=control"))
    expect(settled(page).get_by_role("link", name="is_return")).to_be_visible()
    page.get_by_role("link", name="is_return").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("is_return")
    assert "label=is_return" in settled(page).url
    expect(drawn).to_have_count(2)
    before, label = page.locator("[data-testid=stMainBlockContainer]").inner_text(), page.url
    page.go_back()
    expect(page.get_by_role("heading", name="Probes")).to_be_visible()
    visit(settled(page), label)
    assert page.locator("[data-testid=stMainBlockContainer]").inner_text() == before


def test_a_unit_is_chosen_and_its_link_reopens_it(page: Page, address: str) -> None:
    visit(page, f"{address}/population?run=population&variables=heading")
    units = page.locator(".st-key-tuning_table")
    units.get_by_role("button", name="information").click()
    page.wait_for_url(re.compile("by=information"))
    expect(units.locator("th[aria-sort=descending]")).to_contain_text("information")
    unit = settled(page).locator(".st-key-tuning_table tbody tr").nth(2).locator("a").inner_text()
    units.get_by_role("link", name=unit, exact=True).click()
    page.wait_for_url(re.compile(f"unit={unit}"))
    expect(page.get_by_role("heading", name=f"Unit {unit}", exact=True)).to_be_visible()
    drawn = page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")
    expect(drawn).to_have_count(1 + 1 + 1 + 1 + 12)  # scores, trace, scatter, the unit, and units beside units
    before, link = page.locator("[data-testid=stMainBlockContainer]").inner_text(), settled(page).url
    visit(page, link)
    assert page.locator("[data-testid=stMainBlockContainer]").inner_text() == before
    assert page.evaluate("window.wicked") is None


def test_a_fixed_point_is_chosen_and_its_link_reopens_it(page: Page, address: str) -> None:
    visit(page, f"{address}/dynamics?run=dynamics&right=pc2&up=pc3")
    points = page.locator(".st-key-point_table")
    points.get_by_role("link", name="0", exact=True).click()
    page.wait_for_url(re.compile("point=0"))
    expect(points.get_by_text("shown")).to_be_visible()
    page.get_by_role("radio", name="untrained").click()
    page.wait_for_url(re.compile("subject=untrained"))
    before, link = settled(page).locator("[data-testid=stMainBlockContainer]").inner_text(), page.url
    assert "right=pc2" in link
    visit(page, link)
    assert page.locator("[data-testid=stMainBlockContainer]").inner_text() == before
    for chart in page.locator("[data-testid=stVegaLiteChart]").all()[:2]:
        box = chart.bounding_box()
        for share in (0.3, 0.5, 0.7):  # whatever a tooltip says is text
            page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
    assert page.evaluate("window.wicked") is None


def test_a_wicked_label_is_inert(page: Page, address: str) -> None:
    visit(page, f"{address}/probes?run=probed")
    page.get_by_role("link", name=WICKED).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(WICKED)
    chart = settled(page).locator("[data-testid=stVegaLiteChart]").first.bounding_box()
    for share in (0.2, 0.5, 0.8):  # whatever a tooltip says is text
        page.mouse.move(chart["x"] + share * chart["width"], chart["y"] + 0.5 * chart["height"])
    assert page.evaluate("window.wicked") is None


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
@pytest.mark.parametrize(
    "path",
    [
        "",
        "features",
        "features?feature=3",
        "probes?run=probed",
        "probes?run=probed&label=is_return",
        "prompt_lab",
        "states?run=gru",
        "population?run=population",
        "dynamics?run=dynamics",
        "attention?run=circuits",
        "interventions?run=circuits",
    ],
)
@pytest.mark.parametrize("width", [768, 1440])
def test_every_page_in_both_themes_and_widths(page: Page, address: str, path: str, width: int, request) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    visit(page, f"{address}/{path}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    background = page.locator("[data-testid=stApp]").evaluate("node => getComputedStyle(node).backgroundColor")
    dark = sum(map(int, re.findall(r"\d+", background)[:3])) < 300
    assert dark == ("dark" in request.node.callspec.id)
    overflow = page.locator("[data-testid=stMain]").evaluate("node => node.scrollWidth - node.clientWidth")
    assert overflow <= 1, "the page itself never scrolls sideways"


def test_a_hovered_token_shows_where_a_head_looks_without_a_rerun(page: Page, address: str) -> None:
    visit(page, f"{address}/attention?run=circuits&prompt=return+self.total&layer=1&head=1")
    text = page.locator(".text .token")
    expect(text.first).to_be_visible()
    text.nth(2).hover()
    expect(page.get_by_role("tooltip").filter(has_text="looks at")).to_be_visible()
    weights = text.evaluate_all("nodes => nodes.map(node => node.style.getPropertyValue('--weight'))")
    assert all(weights[:3])
    assert not any(weights[3:]), "no token sees a later one"
    expect(text.nth(2)).to_have_class(re.compile("asked"))
    assert "token=" not in page.url
    text.nth(2).click()
    expect(page).to_have_url(re.compile("token=2"))
    page.get_by_role("button", name="where it looks").click()
    text.nth(1).hover()
    turned = text.evaluate_all("nodes => nodes.map(node => node.style.getPropertyValue('--weight'))")
    assert not turned[0], "an earlier token did not look at this one"
    assert turned[1]
