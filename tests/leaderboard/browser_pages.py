"""Fixtures: the page in headless Chromium, watched for anything that it says or asks for."""

from __future__ import annotations

import os

import pytest
from boards import write_hostile, write_suite
from chromium import CHROMIUM

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.curves import learning_curves
from semaim_mm.leaderboard.write.order_maps import order_maps
from semaim_mm.leaderboard.write.page import page


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # the sandbox of a browser needs rights that root in a container has not
        options = [] if os.geteuid() else ["--no-sandbox"]
        found = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield found
        found.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """The page of a small suite, and one whose every name means harm."""
    folder = tmp_path_factory.mktemp("pages")
    suite = write_suite(folder / "suite")
    asked = read_asked(suite)
    found = dict(
        suite=page(
            asked_board(suite, asked, resamples=50),
            learning_curves(suite, asked),
            *order_maps(suite),
        ),
        hostile=page(leaderboard(write_hostile(folder / "hostile"), resamples=50)),
    )
    for name, html in found.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8", newline="\n")
    return {name: folder / f"{name}.html" for name in found}


@pytest.fixture
def open_page(browser, pages):
    """-> a function that opens a page; at the end nothing was said, fetched or alerted."""
    contexts, said = [], []

    def watch(shown):
        shown.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        shown.on("pageerror", lambda error: said.append(f"error: {error}"))
        shown.on(
            "dialog", lambda dialog: (said.append(f"alert: {dialog.message}"), dialog.dismiss())
        )
        local = ("file:", "data:", "blob:")
        shown.on(
            "request",
            lambda asked: (
                None if asked.url.startswith(local) else said.append(f"asked {asked.url}")
            ),
        )

    def opened(name="suite", width=1280, height=900, scheme="light"):
        context = browser.new_context(
            viewport=dict(width=width, height=height), color_scheme=scheme
        )
        contexts.append(context)
        shown = context.new_page()
        watch(shown)
        shown.goto(pages[name].as_uri())
        shown.wait_for_selector("html[data-drawn]")
        return shown

    yield opened
    for context in contexts:
        context.close()
    assert said == []
