"""An agent notebook that nbclient executed and nbconvert made a page of, read without a network and without scripts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from browser.lab import SCREENSHOTS
from fake_provider import FakeProvider, echo
from notebook import WIDGET
from test_front_ends import environment, execute, notebook_of

PLOT = (
    "py: import matplotlib.pyplot as plt; plt.plot([1, 3, 2]); plt.show(); print('drawn'); final_answer('see the plot')"
)


@pytest.mark.parametrize("scripts", [True, False])
async def test_e4_an_executed_notebook_reads_well_in_nbconvert_offline(
    chrome: Browser, tmp_path: Path, scripts: bool
) -> None:
    from nbconvert import HTMLExporter

    notebook = notebook_of("%%py\n{'rows': 344}", PLOT)
    async with FakeProvider(reply=echo) as provider:
        await execute(notebook, tmp_path, environment(provider, tmp_path))
    html, _ = HTMLExporter().from_notebook_node(notebook)  # type: ignore[no-untyped-call]
    page = await chrome.new_page(viewport={"width": 1000, "height": 1000}, java_script_enabled=scripts)
    await page.route("**/*", lambda route: route.abort())
    await page.set_content(html, wait_until="domcontentloaded")
    summary = page.locator("summary", has_text="Step 1")
    await expect(summary).to_be_visible()
    await expect(page.get_by_text("see the plot").last).to_be_visible()
    if await page.locator("details", has=summary).first.get_attribute("open") is None:
        await summary.click()
    await expect(page.get_by_text("drawn", exact=True)).to_be_visible()
    await expect(page.locator("details img").first).to_be_visible()
    await expect(page.locator(f'script[type="{WIDGET}"]')).to_have_count(0)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(
        path=os.fspath(SCREENSHOTS / f"nbconvert-offline-{'with' if scripts else 'without'}-scripts.png")
    )
