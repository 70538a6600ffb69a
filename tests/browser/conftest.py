"""Fixtures for tests in a real page: one JupyterLab server for all, a fresh browser and page for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from browser.lab import CHROMIUM_ARGS, JUPYTERLAB, Lab, Notebook, OpenNotebook, chromium, running_lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in this folder, and skip them where there is no browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(240))
            if chromium() is None:
                item.add_marker(pytest.mark.skip(reason="needs Chromium (apt-get install chromium)"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab server; `lab.root` is the folder that it shows."""
    with running_lab(tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
        yield browser
        await browser.close()


@pytest.fixture
async def notebook(lab: Lab, chrome: Browser, request: pytest.FixtureRequest) -> AsyncIterator[OpenNotebook]:
    """Write a notebook of code cells and open it: `await notebook(["1 + 1"], kernel="python3")`."""

    pages: list[Notebook] = []

    async def open_notebook(
        cells: Sequence[str],
        kernel: str = "python3",
        width: int = 1180,
        height: int = 1000,
        front_end: str = JUPYTERLAB,
    ) -> Notebook:
        lab.reset_settings()
        page = await chrome.new_page(viewport={"width": width, "height": height})
        opened = Notebook(page, lab, lab.write(f"{request.node.name}.ipynb", cells, kernel), front_end)
        pages.append(opened)
        await opened.open()
        return opened

    yield open_notebook
    for opened in pages:
        await opened.page.close()
        await opened.shut_down()
