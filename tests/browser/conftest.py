"""Fixtures for tests in a real page: one JupyterLab server and one browser for all.

The tests of a file share a page as long as nothing went wrong in it. What JupyterLab remembers is on the server, and is
set back for each test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from browser.lab import CHROMIUM_ARGS, JUPYTERLAB, Lab, Notebook, OpenNotebook, chromium, running_lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in this folder, and skip them where there is no browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.timeout(240))
            if chromium() is None:
                item.add_marker(pytest.mark.skip(reason="needs Chromium (apt-get install chromium)"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab server; `lab.root` is the folder that it shows."""
    with running_lab(tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chrome() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def loaded(chrome: Browser) -> AsyncIterator[list[Page]]:
    """A page in which JupyterLab runs already, once there is one: to load it takes longer than most tests."""
    pages: list[Page] = []
    yield pages
    for page in pages:
        await page.close()


@pytest_asyncio.fixture(loop_scope="session")
async def notebook(
    lab: Lab, chrome: Browser, loaded: list[Page], request: pytest.FixtureRequest
) -> AsyncIterator[OpenNotebook]:
    """Write a notebook of code cells and open it: `await notebook(["1 + 1"], kernel="python3")`."""

    opened: list[Notebook] = []

    async def open_notebook(
        cells: Sequence[str],
        kernel: str = "python3",
        width: int = 1180,
        height: int = 1000,
        front_end: str = JUPYTERLAB,
    ) -> Notebook:
        lab.reset_settings()
        size: ViewportSize = {"width": width, "height": height}
        path = lab.write(f"{request.node.name}.ipynb", cells, kernel)
        if loaded and front_end == JUPYTERLAB:
            page = Notebook(loaded.pop(), lab, path, front_end)
            opened.append(page)
            await page.page.set_viewport_size(size)
            await page.use_theme("JupyterLab Light")
            await page.show()
        else:
            # What moves is painted anew all the time, and nothing here has a graphics card.
            fresh = await chrome.new_page(viewport=size, reduced_motion="reduce")
            page = Notebook(fresh, lab, path, front_end)
            opened.append(page)
            await page.open()
        return page

    yield open_notebook
    for page in opened:
        await page.shut_down()
        can_serve = not loaded and not page.page.is_closed() and f"/{JUPYTERLAB}/" in page.page.url
        can_serve = can_serve and await page.page.evaluate("window.pwned === undefined && window.hacked === undefined")
        if can_serve and not page.errors and not await page.page.locator(".jp-Dialog").count():
            loaded.append(page.page)
        else:
            await page.page.close()
