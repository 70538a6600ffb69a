"""Notebook 7: a task on the Cellwright kernel, its live view, a question, Stop, and what stays."""

from __future__ import annotations

from playwright.async_api import expect

from browser.agent_kernel import KERNEL, told_of
from browser.lab import NOTEBOOK_7, OpenNotebook
from fake_provider import FakeProvider, echo

ITS_OWN_ERRORS = {
    "Cannot read properties of undefined (reading 'schema')",
    "Command 'filebrowser:open-path' not registered.",
}
"""Notebook 7.6's, from its start: in its settings, and on a slow machine in what it registers; in any notebook."""
WAIT = "py: import time\nfor second in range(600):\n    print('second', second, flush=True)\n    time.sleep(1)"


async def test_e6_notebook_7_shows_a_run_and_keeps_it(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=echo, pace=0.05) as provider:
        task = "py: print('it runs', flush=True); import time; time.sleep(6); final_answer(6 * 7)"
        page = await notebook([told_of(provider.base_url), task], KERNEL, front_end=NOTEBOOK_7)
        await page.run(0)
        await page.start(1)
        view = page.output(1).locator(".cw")
        await expect(view.locator(".cw-text")).to_contain_text("it runs", timeout=60_000)
        await expect(view.locator(".cw-pill")).to_have_text("running")
        await page.screenshot("notebook7-live")
        await page.done()
        twin = page.output(1)
        await expect(twin).to_contain_text("42")
        await expect(twin.locator(".cw")).to_have_count(0)
        await twin.locator("summary", has_text="Step 1").click()
        await expect(twin).to_contain_text("it runs")
        await page.screenshot("notebook7-static")
        saved = await page.save()
        assert {mime for output in saved.cells[1].outputs for mime in output.data} == {"text/html", "text/plain"}
        assert set(page.errors) <= ITS_OWN_ERRORS


async def test_e6_notebook_7_asks_and_stops(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=echo) as provider:
        cells = [told_of(provider.base_url), "%agent approve ask", WAIT, "%agent vars"]
        page = await notebook(cells, KERNEL, front_end=NOTEBOOK_7)
        await page.run(0)
        await page.run(1)
        await page.start(2)
        view = page.output(2).locator(".cw")
        await view.locator(".cw-ask").get_by_role("button", name="Run", exact=True).click(timeout=60_000)
        await expect(view.locator(".cw-text")).to_contain_text("second 1", timeout=60_000)
        await view.get_by_role("button", name="Stop").click()
        await expect(page.output(2)).to_contain_text("■ stopped", timeout=10_000)
        await page.done(10)
        await page.run(3)
        await expect(page.output(3)).to_contain_text("second")
        assert set(page.errors) <= ITS_OWN_ERRORS
