"""The live view in a real JupyterLab."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from browser.lab import OpenNotebook

TESTS = Path(__file__).parents[1]
SETUP = f"""
import asyncio, sys
sys.path.insert(0, {str(TESTS)!r})
from browser.played import *
from cellwright_extension.widget import RunView, display_view, finish
picture = plot()

async def show(events, wait=0.0, keep=False):
    "Play events in a view; the person's stop ends them."
    loop = asyncio.get_running_loop()
    playing = None
    view = RunView(on_stop=lambda: loop.call_soon_threadsafe(playing.cancel))
    shown = display_view(view)
    playing = asyncio.ensure_future(play(events, view.take, wait))
    try:
        await playing
    except asyncio.CancelledError:
        print("stopped by the person")
        view.take(ended("interrupted", "Stopped by you."))
    if not keep:
        finish(shown, view.run)
    return None
"""
HOSTILE = """
bad = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>[x](javascript:window.hacked=1)'
svg = '<svg xmlns="http://www.w3.org/2000/svg" onload="window.hacked=1"><script>window.hacked=1</script></svg>'
def hostile():
    yield started(bad)
    forms = [Display({mime: bad}) for mime in ("text/html", "text/markdown", "text/latex", "text/plain")]
    outputs = [Stream("stdout", bad), Display({"image/svg+xml": svg}), *forms, Failure(bad, bad, (bad,), 1)]
    yield from turn(1, bad, "# " + bad, *outputs, outcome="error")
    yield AnswerGiven(step=1, data={"text/html": bad + "<b>the answer</b>"})
    yield ended("failed", bad, 1)
"""


async def test_steps_show_live_and_the_static_twin_stays(notebook: OpenNotebook) -> None:
    page = await notebook([SETUP, "await show(analysis(picture), 0.05)"])
    await page.run(0)
    await page.start(1)
    view = page.output(1).locator(".cw")
    await expect(view.locator(".cw-phase")).to_have_text("Writing code", timeout=30_000)
    await expect(view.locator(".cw-live-code")).to_contain_text("import pandas")
    await page.screenshot("view-writing-light")
    await expect(view.locator(".cw-step")).to_have_count(2)
    await expect(view.locator(".cw-pill")).to_have_text("running")
    await expect(view.locator(".cw-text").first).to_contain_text("reading 100 %")
    await expect(view.locator(".cw-step").nth(1)).to_have_attribute("data-state", "error")
    await page.screenshot("view-error-light")
    await page.done()
    twin = page.output(1)
    await expect(twin.locator("summary", has_text="Step 3")).to_be_visible()
    await expect(twin.locator(".cw")).to_have_count(0)
    await page.screenshot("view-static-light")
    saved = await page.save()
    (output,) = saved.cells[1].outputs
    assert set(output.data) == {"text/html", "text/plain"}
    assert "widgets" not in saved.metadata
    assert page.errors == []


async def test_stop_reaches_python_while_the_cell_runs(notebook: OpenNotebook) -> None:
    page = await notebook([SETUP, "await show(analysis(picture), 0.2)"])
    await page.run(0)
    await page.start(1)
    stop = page.output(1).locator(".cw-stop")
    await stop.wait_for()
    await page.output(1).locator(".cw-step").first.wait_for()
    await stop.click()
    await page.done(5)
    await expect(page.output(1)).to_contain_text("stopped by the person")
    await expect(page.output(1)).to_contain_text("■ stopped")


@pytest.mark.parametrize("theme", ["Light", "Dark"])
async def test_finished_run_looks_right(notebook: OpenNotebook, theme: str) -> None:
    page = await notebook([SETUP, "await show(analysis(picture), keep=True)"], height=1500)
    await page.use_theme(f"JupyterLab {theme}")
    await page.run(0)
    await page.run(1)
    view = page.output(1).locator(".cw")
    await expect(view.locator(".cw-answer")).to_contain_text("Gentoo")
    await expect(view.locator(".cw-pill")).to_have_text("done")
    await page.screenshot(f"view-live-{theme.lower()}", view)
    await view.locator(".cw-steps").evaluate("list => { list.style.maxHeight = 'none' }")
    await page.screenshot(f"view-whole-{theme.lower()}", view)
    overflow = await view.evaluate("view => view.scrollWidth - view.clientWidth")
    assert overflow <= 0
    await view.get_by_text("Collapse all").click()
    await expect(view.locator(".cw-step[data-state=error] .cw-title")).to_have_text("Now the mean for each species")
    await page.screenshot(f"view-collapsed-{theme.lower()}", view)


async def test_reload_in_mid_run_goes_on(notebook: OpenNotebook) -> None:
    page = await notebook([SETUP, "await show(analysis(picture), 0.15, keep=True)"])
    await page.run(0)
    await page.start(1)
    await expect(page.output(1).locator(".cw-step")).to_have_count(1, timeout=30_000)
    await page.save()
    await page.open()
    view = page.output(1).locator(".cw")
    await expect(view.locator(".cw-step").first).to_contain_text("read_csv", timeout=30_000)
    await expect(view.locator(".cw-pill")).to_have_text("done", timeout=60_000)
    await expect(view.locator(".cw-step")).to_have_count(3)
    await expect(view.locator(".cw-step").first.locator(".cw-output")).to_have_count(3)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
async def test_e4_saved_run_reads_well_without_kernel_and_trust(notebook: OpenNotebook, theme: str) -> None:
    page = await notebook([SETUP, "await show(analysis(picture))"])
    twin = await page.open_as_from_elsewhere(1, theme)
    await expect(twin).to_contain_text("Gentoo: 217.2 mm")
    await expect(twin).not_to_contain_text("Error displaying widget")
    await expect(twin.locator("details[open] img")).to_be_visible()
    assert await twin.locator("details").first.evaluate("details => details.open") is False
    await twin.locator("summary", has_text="Step 1").click()
    await twin.locator("summary", has_text="Step 2").click()
    await expect(twin.locator("table")).to_be_visible()
    await twin.scroll_into_view_if_needed()
    await page.screenshot(f"view-untrusted-{theme.lower()}")


@pytest.mark.parametrize("keep", [True, False])
async def test_nothing_that_a_run_holds_is_executed(notebook: OpenNotebook, keep: bool) -> None:
    page = await notebook([SETUP + HOSTILE, f"await show(hostile(), keep={keep})"])
    await page.run(0)
    await page.run(1)
    await expect(page.output(1)).to_contain_text("the answer")
    await page.page.wait_for_timeout(500)
    assert await page.page.evaluate("window.hacked === undefined")
    links = page.output(1).locator('a[href^="javascript"]')
    await expect(links).to_have_count(0)


async def test_e3_hundred_steps_stay_smooth(notebook: OpenNotebook) -> None:
    page = await notebook([SETUP, "await show(long_run(), 0.001, keep=True)"])
    await page.run(0)
    await page.page.evaluate(LONGEST_FRAME)
    await page.run(1)
    await expect(page.output(1).locator(".cw-step")).to_have_count(100)
    await expect(page.output(1).locator(".cw-pill")).to_have_text("out of steps")
    await page.screenshot("view-hundred-steps")
    assert await page.page.evaluate("window.longestFrame") < 1000


LONGEST_FRAME = """() => {
  window.longestFrame = 0;
  let last = performance.now();
  const frame = now => {
    window.longestFrame = Math.max(window.longestFrame, now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


async def test_keyboard_and_screen_reader_find_their_way(notebook: OpenNotebook) -> None:
    page = await notebook([SETUP, "await show(analysis(picture), keep=True)"])
    await page.run(0)
    await page.run(1)
    run = page.page.get_by_role("group", name="Agent run")
    await expect(run.get_by_role("status")).to_have_text("done")
    await expect(run.get_by_role("list", name="Steps")).to_be_visible()
    step = run.locator("details").first
    await step.locator("> summary").focus()
    await page.page.keyboard.press("Enter")
    await expect(step).not_to_have_attribute("open", "")
