"""The prompt lab in a real browser: its second text comes and goes, and the URL with it."""

import re

import pytest
from playwright.sync_api import Page, expect
from test_browser import PROMPT, address, page, read, settled, tokens, visit

__all__ = ["address", "page"]  # fixtures

pytestmark = pytest.mark.browser

SECOND = PROMPT.replace("make_1", "make_2")


@pytest.mark.parametrize("closed", ["by its button", "by hand"])
def test_a_second_text_goes_and_stays_away(page: Page, address: str, closed: str) -> None:
    visit(page, f"{address}/prompt_lab")
    read(page, PROMPT)
    page.get_by_role("button", name="Change the text").click()
    second = page.get_by_role("textbox", name="Second text")
    expect(second).to_have_value(PROMPT)
    settled(page)
    second.fill(SECOND)
    second.press("Control+Enter")
    page.wait_for_url(re.compile("prompt2=.*make_2"))
    expect(page.get_by_text(re.compile("^The second text: "))).to_be_visible()
    settled(page)
    if closed == "by hand":
        second.fill("")
        second.press("Control+Enter")
    else:
        page.get_by_role("button", name="Without the second text").click()
    expect(second).to_have_count(0)
    expect(page).not_to_have_url(re.compile("prompt2"))
    settled(page)
    tokens(page).nth(2).click()
    expect(page.get_by_role("heading", name=re.compile("^Token 2"))).to_be_visible()
    settled(page)
    expect(second).to_have_count(0)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    assert "prompt2" not in page.url
    visit(page, page.url)
    expect(page.locator("textarea")).to_have_value(PROMPT)


def test_a_link_opens_both_texts_and_either_can_be_left(page: Page, address: str) -> None:
    visit(page, f"{address}/prompt_lab?prompt=return+self&prompt2=return+value&token=1")
    expect(page.get_by_role("textbox", name="Second text")).to_have_value("return value")
    page.get_by_role("button", name="Without the second text").click()
    expect(page.get_by_role("textbox", name="Second text")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("prompt2"))
    settled(page).get_by_role("button", name="Change the text").click()
    expect(page.get_by_role("textbox", name="Second text")).to_have_value("return self")
    page.wait_for_url(re.compile("prompt2=return(%20|\\+)self"))
