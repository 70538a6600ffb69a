"""A page that is loaded anew while the agent kernel works: what was going on is there again, and can be answered."""

from __future__ import annotations

import asyncio

from playwright.async_api import expect

from browser.agent_kernel import KERNEL, told_of
from browser.lab import OpenNotebook
from fake_provider import FakeProvider, echo

CALCULATE = "py: print('it runs'); final_answer(6 * 7)"
WAIT = "py: import time\nfor second in range(600):\n    print('second', second, flush=True)\n    time.sleep(1)"


async def test_e3_reload_in_mid_run_with_a_question_open(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=echo) as provider:
        page = await notebook([told_of(provider.base_url), "%agent approve ask", CALCULATE, "%agent steps"], KERNEL)
        await page.run(0)
        await page.run(1)
        await page.start(2)
        ask = page.output(2).locator(".cw-ask")
        await expect(ask).to_contain_text("Run this?", timeout=30_000)
        await page.save()
        await page.open()
        await expect(ask).to_contain_text("Run this?", timeout=30_000)
        await expect(page.output(2).locator(".cw-step")).to_have_count(1)
        await page.screenshot("reload-question")
        await ask.get_by_role("button", name="Run", exact=True).click()
        view = page.output(2).locator(".cw")
        await expect(view.locator(".cw-pill")).to_have_text("done", timeout=30_000)
        await expect(view.locator(".cw-text")).to_contain_text("it runs")
        await expect(view.locator(".cw-answer")).to_contain_text("42")
        await page.run(3)
        await expect(page.output(3)).to_contain_text("1")
        assert page.errors == []


async def test_e3_reload_in_mid_run_goes_on_and_can_be_stopped(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=echo) as provider:
        page = await notebook([told_of(provider.base_url), WAIT, "%agent vars"], KERNEL)
        await page.run(0)
        await page.start(1)
        view = page.output(1).locator(".cw")
        await expect(view.locator(".cw-text")).to_contain_text("second 1", timeout=30_000)
        await page.save()
        await page.open()
        await expect(view.locator(".cw-text")).to_contain_text("second 0", timeout=30_000)
        await expect(view.locator(".cw-pill")).to_have_text("running")
        last = (await view.locator(".cw-text").inner_text()).split()[-1]
        await expect(view.locator(".cw-text")).to_contain_text(f"second {int(last) + 2}")
        await view.get_by_role("button", name="Stop").click()
        await expect(view.locator(".cw-pill")).to_have_text("stopped")
        await page.run(2)
        await expect(page.output(2)).to_contain_text("second")
        assert page.errors == []


async def test_e3_a_run_that_ended_while_no_page_was_open(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=echo) as provider:
        task = "py: import time\nprint('begun', flush=True)\ntime.sleep(3)\nfinal_answer('while you were away')"
        page = await notebook([told_of(provider.base_url), task], KERNEL)
        await page.run(0)
        await page.start(1)
        view = page.output(1).locator(".cw")
        await expect(view.locator(".cw-text")).to_contain_text("begun", timeout=30_000)
        await page.save()
        await page.page.goto("about:blank")
        await asyncio.sleep(6)
        await page.open()
        await expect(view.locator(".cw-answer")).to_contain_text("while you were away", timeout=30_000)
        await expect(view.locator(".cw-pill")).to_have_text("done")
        assert page.errors == []


async def test_e4_a_run_of_the_agent_kernel_reopened_without_a_kernel(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=echo) as provider:
        page = await notebook([told_of(provider.base_url), CALCULATE], KERNEL)
        await page.run(0)
        await page.run(1)
        saved = await page.save()
        assert [set(output.get("data", {})) for output in saved.cells[1].outputs] == [
            {"text/html", "text/plain"},
            {"text/plain"},
        ]
        await page.open_without_kernel()
        twin = page.output(1)
        await expect(twin).to_contain_text("42")
        await expect(twin).not_to_contain_text("Error displaying widget")
        await twin.locator("summary", has_text="Step 1").click()
        await expect(twin).to_contain_text("it runs")
