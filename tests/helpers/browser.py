"""A real browser."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright


@contextmanager
def phone() -> Iterator[Page]:
    """A page of a real browser, as wide as a phone, that must not complain nor ask for anything but our files."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: the page is not tested in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 900})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if ".html" not in request.url else None)
        yield page
        assert [words for words in said if words != "data:,"] == []
        browser.close()
