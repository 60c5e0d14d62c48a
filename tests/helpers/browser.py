"""A real browser."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; skips the test where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: the page is not tested in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def phone() -> Iterator[Page]:
    """A page of a real browser, as wide as a phone, that must not complain nor ask for anything but our files."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 900})
        said = complaints(page)
        page.on("request", lambda request: said.append(request.url) if ".html" not in request.url else None)
        yield page
        assert [words for words in said if words != "data:,"] == []


@contextmanager
def visited(browser: Browser, url: str, refused: int = 0, **look: Any) -> Iterator[Page]:
    """A page of a service in a profile of its own, that must not complain nor reach for another host.

    `refused`: how many of its requests the service refuses, of which Chromium tells the console.
    """
    context = browser.new_context(**look)
    page = context.new_page()
    said = complaints(page)
    page.on("request", lambda request: None if request.url.startswith(url) else said.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert [words for words in said if not words.startswith("Failed to load resource: ")] == []
    assert len(said) == refused


def complaints(page: Page) -> list[str]:
    """What the page writes to its console from now on."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    return said
