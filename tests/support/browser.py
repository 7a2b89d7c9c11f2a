"""A real browser for the tests of pages; without one they are skipped."""

import contextlib
import shutil

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def browsing():
    if BROWSER is None:
        pytest.skip("needs a browser: apt install chromium")
    browser_of = pytest.importorskip("playwright.sync_api", reason="needs pip install -e '.[pictures]'")
    with browser_of.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()
