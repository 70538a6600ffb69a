"""A person decides in the view, in a real JupyterLab: run, edit, deny, with the mouse and with keys alone."""

from __future__ import annotations

import asyncio
import json
import time

from playwright.async_api import Locator, expect

from browser.lab import Notebook, OpenNotebook

SETUP = """
import time
from cellwright import ScriptedModel
from cellwright_extension.session import Session

def says(*codes):
    return ScriptedModel(*(f"I try it.\\n```python\\n{code}\\n```" for code in codes))

session = Session(get_ipython().config)
session.change(approve="ask-risky")

async def do(*codes):
    session.agent.model = says(*codes)
    run = await session.do("Clean up the folder.")
    return [(step.decided.verdict, step.decided.by, step.outcome) for step in run.steps]
"""
REMOVE = "import os\\nos.path.exists('a.tmp') and os.remove('a.tmp')"
TASK = f'''await do("x = 1", "{REMOVE}", "import subprocess\\nx = 2", "import socket\\nx = 3", "final_answer(x)")'''


async def asked(page: Notebook, cell: int = 1) -> tuple[Locator, Locator]:
    """The view, and the question in it."""
    view = page.output(cell).locator(".cw")
    ask = view.locator(".cw-ask")
    await expect(ask).to_be_visible(timeout=60_000)
    return view, ask


async def test_e5_edit_deny_and_run_with_the_mouse(notebook: OpenNotebook) -> None:
    page = await notebook([SETUP, TASK])
    await page.run(0)
    await page.start(1)
    view, ask = await asked(page)
    await expect(ask).to_contain_text("deletion: os.remove")
    await expect(view.locator(".cw-pill")).to_have_text("waits for you")
    await page.screenshot("approve-light")
    await ask.get_by_role("button", name="Edit").click()
    await expect(ask.locator("textarea")).to_be_focused()
    await page.screenshot("approve-edit-light")
    await ask.locator("textarea").fill("x = 5\nprint('edited')")
    await ask.get_by_role("button", name="Run edited").click()
    await expect(view).to_contain_text("Edited by person")
    await expect(view.locator(".cw-step").nth(1)).to_contain_text("What was changed")
    await expect(ask).to_contain_text("other programs: subprocess")
    await ask.get_by_role("button", name="Deny").click()
    await page.use_theme("JupyterLab Dark")
    await page.screenshot("approve-deny-dark")
    await ask.locator("input").fill("stay inside")
    await ask.locator("input").press("Enter")
    await page.done()
    twin = page.output(1)
    await expect(twin).to_contain_text("('edited', 'person', 'ok')")
    await expect(twin).to_contain_text("('denied', 'person', 'denied')")
    await twin.locator("summary", has_text="Step 3").click()
    await expect(twin).to_contain_text("Denied by person: the user said no: stay inside")
    await twin.locator("summary", has_text="Step 2").click()
    await twin.locator("summary", has_text="What was changed").click()
    await expect(twin.locator("ins").first).to_have_text("+x = 5")
    await page.screenshot("approve-twin-dark")
    assert not page.errors


async def test_e5_keys_alone_and_allowing_what_follows(notebook: OpenNotebook) -> None:
    page = await notebook([SETUP, TASK])
    await page.run(0)
    await page.start(1)
    _, ask = await asked(page)
    run = ask.get_by_role("button", name="Run", exact=True)
    await expect(run).to_be_focused()
    await asyncio.sleep(0.5)
    keys = page.page.keyboard
    await keys.press("Tab")
    await keys.press("Enter")
    await expect(ask.locator("textarea")).to_be_focused()
    await keys.press("Escape")
    await expect(run).to_be_focused()
    await keys.press("Enter")
    await expect(ask).to_contain_text("other programs: subprocess")
    await ask.get_by_role("button", name="Run all that follow").click()
    await expect(ask).to_have_count(0)
    assert not page.errors


async def test_e5_a_click_takes_effect_at_once_and_typing_is_not_disturbed(notebook: OpenNotebook) -> None:
    page = await notebook([SETUP, "await do('x = 0', *['import subprocess'] * 6, 'final_answer(1)')", "1 + 1"])
    await page.run(0)
    await page.start(1)
    editor = page.cell(2).locator(".cm-content")
    await editor.click()
    view, ask = await asked(page)
    await expect(editor).to_be_focused()
    took = []
    for number in range(2, 7):
        await expect(view.locator(".cw-step").nth(number - 1).locator(".cw-ask")).to_be_visible()
        begun = time.monotonic()
        await ask.get_by_role("button", name="Run", exact=True).click()
        await expect(view.locator(".cw-step").nth(number - 1).locator(".cw-ask")).to_have_count(0)
        took.append(time.monotonic() - begun)
    print(json.dumps({"click to effect, seconds": [round(seconds, 3) for seconds in took]}))
    assert sorted(took)[2] < 1.0
    await expect(view.locator(".cw-ask")).to_be_visible()
    begun = time.monotonic()
    await view.get_by_role("button", name="Stop").click()
    await expect(page.output(1)).to_contain_text("stopped")
    assert time.monotonic() - begun < 3.0
    await page.done()
