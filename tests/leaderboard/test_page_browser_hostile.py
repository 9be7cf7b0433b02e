"""The page in headless Chromium against names that mean harm, and in small windows."""

from __future__ import annotations

import pytest
from boards import HOSTILE
from chromium import NEEDS_CHROMIUM

from semaim_mm.leaderboard.write.page import SCRIPTS
from semaim_mm.leaderboard.write.text import clean

pytest_plugins = ("browser_pages",)
pytestmark = NEEDS_CHROMIUM


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
@pytest.mark.parametrize("name", ["suite", "hostile"])
def test_the_page_fits_its_window_and_its_tables_scroll(open_page, tmp_path, name, width, height):
    shown = open_page(name, width, height)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    picture = tmp_path / "page.png"
    shown.screenshot(path=picture)
    assert picture.stat().st_size > 5000


def test_hostile_names_are_shown_and_nothing_of_them_runs(open_page):
    shown = open_page("hostile")
    names = shown.eval_on_selector_all(
        "#overview-table tbody th", "all => all.map(e => e.dataset.value)"
    )
    assert sorted(names) == sorted(clean(name) for name in HOSTILE)
    assert shown.locator("script").count() == 2 + len(SCRIPTS)
    assert shown.locator("main a[href^='javascript' i], svg a").count() == 0
    for number in range(shown.locator("#overview-table button.cell").count()):
        shown.locator("#overview-table button.cell").nth(number).click()
        assert shown.locator("dialog[open]").count() == 1
        shown.keyboard.press("Escape")
    ticks = shown.locator('.chart[data-figure="bars-group-0"] .ytick text').all_text_contents()
    assert len(ticks) == len(HOSTILE)
    assert "<script>alert(1)</script>" in ticks and "javascript:alert(1)" in ticks


def test_even_a_script_that_got_into_the_page_would_not_run(browser, pages, tmp_path):
    html = pages["suite"].read_text(encoding="utf-8")
    forged = tmp_path / "forged.html"
    forged.write_text(
        html.replace(
            "</main>", "<script>window.ran = 1</script><img src=x onerror='ran = 1'></main>"
        )
    )
    shown = browser.new_page()
    refused = []
    shown.on("console", lambda message: refused.append(message.text))
    shown.goto(forged.as_uri())
    shown.wait_for_selector("html[data-drawn]")
    assert shown.evaluate("window.ran === undefined")
    assert any("Content Security Policy" in text for text in refused)
    shown.close()
