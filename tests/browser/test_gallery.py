"""Ten situations, in light and in dark, as pictures for people to look at: results/screenshots/ten-*.png."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbconvert import HTMLExporter
from playwright.async_api import Browser, Locator, expect

from browser.lab import SCREENSHOTS, Notebook, OpenNotebook
from browser.test_approval import REMOVE
from browser.test_approval import SETUP as APPROVING
from browser.test_nested import agent
from browser.test_view_browser import SETUP

IN_TABLE = """
def with_table():
    *events, _, end = analysis(picture)
    yield from events
    yield AnswerGiven(step=3, data={"text/html": TABLE, "text/plain": "a table"})
    yield end
"""
CELLS = [
    SETUP + "from browser.nested import *\n" + IN_TABLE,
    APPROVING,
    "await show(analysis(picture), 0.05)",
    f'await do("{REMOVE}", "final_answer(1)")',
    "await show(long_run(), keep=True)",
    "await show(team(picture), 0.04, keep=True)",
    "await show(with_table(), keep=True)",
    "await show(analysis(picture), 0.2, keep=True)",
    "await show(analysis(picture))",
]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("theme", ["Light", "Dark"])
async def test_e3_ten_situations(notebook: OpenNotebook, chrome: Browser, tmp_path: Path, theme: str) -> None:
    page = await notebook(CELLS, height=1300)
    await page.use_theme(f"JupyterLab {theme}")
    await page.run(0)
    await page.run(1)

    async def picture(number: int, name: str, of: Locator) -> None:
        assert await of.evaluate("node => node.scrollWidth - node.clientWidth") <= 0, f"{name} is cut off"
        await page.screenshot(f"ten-{number:02}-{name}-{theme.lower()}", of)

    view = await begun(page, 2)
    await expect(view.locator(".cw-live-code")).to_contain_text("import pandas", timeout=30_000)
    await picture(1, "running", view)
    await expect(view.locator(".cw-step").nth(1)).to_have_attribute("data-state", "error")
    await expect(view.locator(".cw-error")).to_contain_text("KeyError")
    await picture(2, "error", view)
    await page.done()
    view = await begun(page, 3)
    await expect(view.locator(".cw-ask")).to_contain_text("deletion: os.remove", timeout=60_000)
    await picture(3, "approving", view)
    await view.get_by_role("button", name="Run", exact=True).click()
    await page.done()
    view = await begun(page, 4)
    await page.done()
    await expect(view.locator(".cw-step")).to_have_count(100)
    await picture(4, "hundred-steps", view)
    view = await begun(page, 5)
    await expect(agent(view, 1).locator("table")).to_be_visible(timeout=30_000)
    await picture(5, "nested-agents", view)
    await page.done()
    view = await begun(page, 6)
    await page.done()
    await expect(view.locator(".cw-answer table")).to_contain_text("Gentoo")
    await expect(view.locator("img")).to_be_visible()
    await picture(6, "answer-with-table-and-plot", view)
    view = await begun(page, 7)
    await view.locator(".cw-step").first.wait_for()
    await view.locator(".cw-stop").click()
    await page.done()
    await expect(view.locator(".cw-pill")).to_have_text("stopped")
    await picture(7, "stopped", view)
    await page.run(8)
    await picture(8, "static-twin", page.output(8))
    await offline_page(page, chrome, tmp_path, theme)
    assert page.errors == []


async def test_e4_a_run_in_a_notebook_that_is_not_trusted(notebook: OpenNotebook) -> None:
    for theme in ("Light", "Dark"):
        page = await notebook([SETUP, "await show(analysis(picture))"])
        twin = await page.open_as_from_elsewhere(1, theme)
        await expect(twin.locator("details[open] img")).to_be_visible()
        await page.screenshot(f"ten-10-untrusted-{theme.lower()}")
        await page.page.close()


async def begun(page: Notebook, index: int) -> Locator:
    """The view of the cell, which has been started."""
    await page.start(index)
    view = page.output(index).locator(".cw")
    await view.wait_for(timeout=60_000)
    return view


async def offline_page(page: Notebook, chrome: Browser, folder: Path, theme: str) -> None:
    """What nbconvert makes of the last run, in a browser without a network."""
    saved = await page.save()
    saved.cells = saved.cells[-1:]
    exporter = HTMLExporter(theme=theme.lower())  # type: ignore[no-untyped-call]
    html, _ = exporter.from_notebook_node(saved)
    (folder / "run.html").write_text(html)
    context = await chrome.new_context(offline=True, viewport={"width": 1000, "height": 1100})
    offline = await context.new_page()
    await offline.goto((folder / "run.html").as_uri())
    await expect(offline.locator("details[open] img")).to_be_visible()
    await expect(offline.locator("summary", has_text="Step 2")).to_be_visible()
    await offline.screenshot(path=SCREENSHOTS / f"ten-09-nbconvert-offline-{theme.lower()}.png")
    await context.close()
