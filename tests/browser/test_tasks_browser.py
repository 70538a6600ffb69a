"""A person's first task, in a real JupyterLab, with the embedded model and a real table: by kernel and by magic."""

from __future__ import annotations

import asyncio

import pytest
from palmerpenguins import load_penguins

from browser.lab import Lab, OpenNotebook

TASK = "Which species has the longest flippers on average? Plot it."
pytestmark = [pytest.mark.model, pytest.mark.timeout(400)]


@pytest.fixture
def penguins(lab: Lab) -> None:
    """The table, beside the notebook."""
    load_penguins().to_csv(lab.root / "penguins.csv", index=False)


async def test_e6_a_task_on_the_cellwright_kernel(notebook: OpenNotebook, penguins: None) -> None:
    page = await notebook(["%agent model embedded", f"{TASK} Use penguins.csv."], kernel="cellwright", height=1300)
    await page.run(0, seconds=120)
    await page.start(1)
    live = page.output(1).locator("[role=list], ol").first
    await live.wait_for(timeout=120_000)
    await asyncio.sleep(4)
    await page.screenshot("kernel-live")
    await page.done(300)
    output = page.output(1)
    await output.locator("text=Gentoo").first.wait_for(timeout=20_000)
    await page.screenshot("kernel-done")
    saved = await page.save()
    bundles = [o.get("data", {}) for o in saved.cells[1].outputs]
    assert any("Gentoo" in str(data.get("text/plain")) for data in bundles)
    assert any("data:image/png" in str(data.get("text/html")) or "image/png" in data for data in bundles), "no plot"
    assert not any("application/vnd.jupyter.widget-view+json" in data for data in bundles)
    assert not page.errors
    await page.open_without_kernel()
    await page.output(1).locator("summary").first.wait_for()
    await page.screenshot("kernel-reopened-without-kernel")
    assert "Error displaying widget" not in await page.output(1).inner_text()


async def test_e6_the_same_task_by_magic(notebook: OpenNotebook, lab: Lab) -> None:
    load = "%load_ext cellwright\nfrom palmerpenguins import load_penguins\ndf = load_penguins()\nlen(df)"
    cell = f"%%agent --model embedded --in df --out result\n{TASK} The data is in df."
    (lab.root / "penguins.csv").unlink(missing_ok=True)
    page = await notebook([load, cell, "result"], height=1300)
    await page.run(0, seconds=120)
    await page.start(1)
    await page.output(1).locator("[role=list], ol").first.wait_for(timeout=120_000)
    await page.done(300)
    await page.output(1).locator("text=Gentoo").first.wait_for(timeout=20_000)
    await page.screenshot("magic-done")
    await page.run(2)
    assert "Gentoo" in await page.output(2).inner_text()
    assert not page.errors
