"""Chromium, started by Playwright, for tests, benchmarks and the pictures of the README."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

NAMES = "chromium", "chromium-browser", "google-chrome"
WEBGL = "--use-angle=swiftshader", "--enable-unsafe-swiftshader"
"""Flags for a page in 3D on a machine without a GPU."""


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """The browser, closed at the end.

    Raises:
        ImportError: Playwright is not installed.
        FileNotFoundError: Chromium is not installed.
    """
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise FileNotFoundError("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *flags])
        yield browser
        browser.close()


def fixture(*flags: str) -> Iterator[Any]:
    """The body of a fixture: the browser, or a skipped test if it is not installed."""
    import pytest

    with ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium(*flags))
        except (ImportError, FileNotFoundError) as error:
            pytest.skip(str(error))
        yield browser
