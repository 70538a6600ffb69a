"""Calls of tools and runs of agents inside steps, in a real JupyterLab."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, expect

from browser.lab import Notebook, OpenNotebook
from browser.test_view_browser import SETUP

NESTED = SETUP + "from browser.nested import *\n"


async def shown(
    notebook: OpenNotebook, events: str, theme: str = "Light", wait: float = 0.0
) -> tuple[Notebook, Locator]:
    """A notebook in which these events are played, and its view."""
    page = await notebook([NESTED, f"await show({events}, {wait}, keep=True)"], height=1500)
    await page.use_theme(f"JupyterLab {theme}")
    await page.run(0)
    await page.start(1)
    return page, page.output(1).locator(".cw")


def agent(view: Locator, index: int) -> Locator:
    """Run number `index` of those that a step of the outermost run called."""
    return view.locator(":scope > .cw-steps > .cw-step > details > .cw-body > .cw-agents > .cw-agent").nth(index)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
async def test_e3_agents_at_work_are_shown_side_by_side(notebook: OpenNotebook, theme: str) -> None:
    page, view = await shown(notebook, "team(picture)", theme, 0.05)
    left, right = agent(view, 0), agent(view, 1)
    await expect(left.locator("> summary .cw-pill")).to_have_text("running", timeout=30_000)
    await expect(left.locator(".cw-phase").first).to_be_visible()
    await expect(right.locator(".cw-live-code")).to_contain_text("search(", timeout=20_000)
    first, second = await left.bounding_box(), await right.bounding_box()
    assert first and second
    assert first["y"] == second["y"]
    assert first["x"] + first["width"] <= second["x"]
    await page.screenshot(f"nested-writing-{theme.lower()}", view)
    await expect(left.locator(".cw-step").first).to_contain_text("404: no such page")
    await expect(right.locator("table")).to_be_visible()
    await page.screenshot(f"nested-running-{theme.lower()}", view)
    await expect(left.locator(".cw-agent .cw-step")).to_contain_text("read('penguins.pdf')", timeout=20_000)
    await page.screenshot(f"nested-inner-{theme.lower()}", view)
    await expect(left.locator("> summary .cw-said")).to_have_text("→ 189.9 mm (n = 151)", timeout=20_000)
    await expect(left).not_to_have_attribute("open", re.compile(""))
    download = view.locator(".cw-calls > [data-state=running]", has_text="download")
    await expect(download.locator(".cw-said")).to_have_text(re.compile(r"penguins.csv: \d0 %"), timeout=20_000)
    await expect(download.locator(".cw-word")).to_have_text(re.compile(r"\d\.\d s"))
    await page.screenshot(f"nested-tools-{theme.lower()}", view)
    await page.done()
    await page.screenshot(f"nested-done-{theme.lower()}", view)
    await left.locator("> summary").click()
    await page.screenshot(f"nested-opened-{theme.lower()}", view)
    assert await view.evaluate("view => view.scrollWidth - view.clientWidth") <= 0
    assert page.errors == []


LOSSY = """
from pathlib import Path
class Lossy(RunView):
    is_lost = False
    def send(self, content, buffers=None):
        if not self.is_lost:
            super().send(content, buffers)

events = list(team(picture))
half = next(i for i, event in enumerate(events) if "rows = read(" in str(getattr(event, "event", ""))) - 2
view = Lossy()
stands = display_view(view)
await play(iter(events[:9]), view.take, 0.05)
view.is_lost = True
await play(iter(events[9:half]), view.take, 0.01)
view.is_lost = False
await play(iter(events[half:half + 2]), view.take, 0.1)
while not Path("looked").exists():
    await asyncio.sleep(0.1)
await play(iter(events[half + 2:]), view.take, 0.01)
"""


async def check_end(view: Locator) -> None:
    """All of `team` is there, once."""
    await expect(view.locator(".cw-pill").first).to_have_text("done", timeout=90_000)
    await expect(agent(view, 0).locator("> summary > .cw-said")).to_have_text("→ 189.9 mm (n = 151)")
    await expect(agent(view, 1).locator("> summary .cw-pill")).to_have_text("done")
    await expect(view.locator(".cw-agent")).to_have_count(3)
    await expect(agent(view, 0).locator(".cw-agent .cw-step")).to_contain_text("151")
    await expect(view.locator(".cw-calls > [data-state=ok]")).to_have_count(2)
    await expect(view.locator(".cw-calls > [data-state=error]")).to_have_count(2)


async def test_e3_messages_that_were_lost_come_with_a_snapshot_while_agents_work(notebook: OpenNotebook) -> None:
    page = await notebook([NESTED, LOSSY])
    await page.run(0)
    await page.start(1)
    view = page.output(1).locator(".cw")
    left = agent(view, 0)
    await expect(left.locator(".cw-step").first).to_contain_text("404: no such page", timeout=30_000)
    await expect(left.locator(".cw-agent .cw-pill")).to_have_text("running")
    await expect(left.locator(".cw-agent .cw-live")).to_contain_text("The file has one table.")
    (page.lab.root / "looked").touch()
    await check_end(view)
    assert page.errors == []


async def test_e3_agents_survive_a_reload_in_mid_run(notebook: OpenNotebook) -> None:
    page, view = await shown(notebook, "team(picture)", wait=0.05)
    await expect(agent(view, 0)).to_be_visible(timeout=30_000)
    await page.save()
    await page.open()
    await check_end(page.output(1).locator(".cw"))
    assert page.errors == []


async def test_e3_agents_that_gave_up_stay_open(notebook: OpenNotebook) -> None:
    page, view = await shown(notebook, "gave_up()")
    await page.done()
    await expect(agent(view, 0).locator(".cw-error")).to_contain_text("KeyError")
    await expect(agent(view, 0).locator("> summary")).to_contain_text("No answer after 1 step.")
    await expect(agent(view, 1).locator("> summary")).to_contain_text("No sandbox could be started.")
    await page.screenshot("nested-gave-up", view)


async def test_e3_keyboard_opens_an_agent_and_what_is_read_stays_open(notebook: OpenNotebook) -> None:
    page, _ = await shown(notebook, "team(picture)", wait=0.05)
    run = page.page.get_by_role("group", name="Agent run")
    researchers = run.get_by_role("group", name="Agent researcher")
    await expect(researchers).to_have_count(2, timeout=30_000)
    left, right = researchers.nth(0), researchers.nth(1)
    await expect(right.get_by_role("list", name="Steps of researcher")).to_be_visible()
    # Somebody reads the second: it is not folded under their eyes. The first folds when it is done.
    await right.locator("> summary").focus()
    await page.page.keyboard.press("Enter")
    await expect(right).not_to_have_attribute("open", "")
    await page.page.keyboard.press("Enter")
    await page.done()
    await expect(right).to_have_attribute("open", "")
    await expect(left).not_to_have_attribute("open", "")
    await left.locator("> summary").focus()
    await page.page.keyboard.press("Enter")
    await expect(left.get_by_role("region", name="Answer").last).to_contain_text("189.9 mm")
    await expect(run.get_by_role("listitem").filter(has_text="lookup(species='Adelie')").last).to_be_visible()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
async def test_e3_static_twin_of_agents_reads_well_without_trust(notebook: OpenNotebook, theme: str) -> None:
    page = await notebook([NESTED, "await show(team(picture))"], height=1500)
    twin = await page.open_as_from_elsewhere(1, theme)
    await twin.locator("summary", has_text="Step 1").first.click()
    inner = twin.locator("summary", has_text="↳")
    await expect(inner.first).to_contain_text("researcher")
    await inner.first.click()
    await twin.locator("summary", has_text="ToolError").click()
    await expect(twin).to_contain_text("✗ fetch('https://example.org/penguins'): 404: no such page")
    await page.screenshot(f"nested-untrusted-{theme.lower()}", twin)
