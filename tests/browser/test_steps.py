"""The buttons of a step, and the word to an agent at work, in the Cellwright kernel and a real JupyterLab."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Locator, expect

from browser.agent_kernel import KERNEL, told_of
from browser.lab import Notebook, OpenNotebook
from fake_provider import FakeProvider

THREE = "steps: x = 1 ;; x = x + 10 ;; import time; time.sleep(60) ;; final_answer(x)"


def next_step(body: dict[str, Any]) -> str:
    """The step of the last task `steps: a ;; b` that comes next: as many as were written since then are done."""
    messages = [(message["role"], str(message["content"])) for message in body["messages"]]
    start = max(at for at, (_, text) in enumerate(messages) if "steps: " in text)
    codes = messages[start][1].rpartition("steps: ")[2].split("\n")[0].split(" ;; ")
    done = sum(role == "assistant" or "The user wrote this step" in text for role, text in messages[start:])
    return f"I do **part {done + 1}**.\n```python\n{codes[min(done, len(codes) - 1)]}\n```"


async def at_step_3(page: Notebook, index: int) -> Locator:
    """The view of the task in that cell, when its third step runs."""
    await page.start(index)
    view = page.output(index).locator(".cw")
    await expect(view.locator(".cw-step").nth(2)).to_have_attribute("data-state", "running", timeout=30_000)
    return view


def buttons(view: Locator, step: int) -> Locator:
    return view.get_by_role("toolbar", name=f"Step {step}")


async def cells_of(page: Notebook) -> list[str]:
    return [str(cell.source) for cell in (await page.save()).cells]


async def test_e3_copy_expand_and_insert_below(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=next_step) as provider:
        page = await notebook([told_of(provider.base_url), THREE.replace("(60)", "(4)"), "1"], KERNEL)
        await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await page.run(0)
        view = await at_step_3(page, 1)
        await view.locator(".cw-step").nth(1).hover()
        await page.screenshot("steps-buttons-light")
        await buttons(view, 2).get_by_role("button", name="Copy").click()
        await expect(buttons(view, 2)).to_contain_text("Copied")
        assert await page.page.evaluate("navigator.clipboard.readText()") == "x = x + 10"
        await buttons(view, 2).get_by_role("button", name="Expand").click()
        await expect(view.locator(".cw-wide")).to_have_count(1)
        await buttons(view, 2).get_by_role("button", name="Insert below").click()
        await buttons(view, 1).get_by_role("button", name="Insert below").click()
        await expect(buttons(view, 1)).to_contain_text("comes below")
        await page.done()
        await expect(page.output(1)).to_contain_text("11")
        assert (await cells_of(page))[2:] == ["%%py\nx = x + 10\n\nx = 1", "1"]
        assert page.errors == []


async def test_e8_edit_and_go_on_stops_the_run_and_puts_the_step_below(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=next_step) as provider:
        page = await notebook([told_of(provider.base_url), THREE, "%agent vars"], KERNEL)
        await page.run(0)
        view = await at_step_3(page, 1)
        edit = buttons(view, 2).locator("button", has_text="Edit and go on")
        await edit.click()
        await buttons(view, 2).locator("button", has_text="Stop and edit?").click()
        await page.done()
        assert (await cells_of(page))[2] == "%%agent --step 2\nx = x + 10"
        await expect(page.output(1)).to_contain_text("stopped")
        await page.page.evaluate(
            "window.jupyterapp.shell.currentWidget.content.widgets[2].model.sharedModel"
            ".setSource('%%agent --step 2\\nx = x + 20')"
        )
        await page.start(2)
        await expect(page.output(2).locator(".cw")).to_contain_text("x = x + 20", timeout=30_000)
        await page.output(2).get_by_role("button", name="Stop").click()
        await page.done()
        await page.run(3)
        await expect(page.output(3)).to_contain_text("21")
        assert page.errors == []


async def test_e8_undo_to_here_stops_the_run_and_goes_back(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=next_step) as provider:
        page = await notebook([told_of(provider.base_url), THREE, "%agent vars"], KERNEL)
        await page.run(0)
        view = await at_step_3(page, 1)
        await buttons(view, 1).locator("button", has_text="Undo to here").click()
        await buttons(view, 1).locator("button", has_text="Stop and go back?").click()
        await page.done()
        await expect(page.output(1)).to_contain_text("Taken back: all that came after step 1.")
        await page.run(2)
        await expect(page.output(2).locator("td", has_text="x").first).to_be_visible()
        await expect(page.output(2)).not_to_contain_text("11")
        assert page.errors == []


async def test_e5_a_word_reaches_the_model_at_the_next_step(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=next_step) as provider:
        task = THREE.replace("(60)", "(10)")
        page = await notebook([told_of(provider.base_url), task], KERNEL)
        await page.run(0)
        view = await at_step_3(page, 1)
        field = view.get_by_label("Tell the agent something")
        await field.fill("Use the <b>median</b>.")
        await page.screenshot("steps-tell-light")
        await field.press("Enter")
        await expect(view.locator(".cw-tell")).to_contain_text("Before its next step the agent reads: Use the <b>")
        await page.done()
        last = provider.requests[-1]["messages"][-1]
        assert last["role"] == "user"
        assert "Use the <b>median</b>." in str(last["content"])
        assert "Use the <b>" not in str(provider.requests[-2]["messages"])
        await expect(page.output(1)).to_contain_text("You: Use the <b>median</b>.")
        assert page.errors == []


async def test_e5_a_word_that_came_too_late_is_not_lost(notebook: OpenNotebook) -> None:
    async with FakeProvider(reply=next_step) as provider:
        page = await notebook(
            [told_of(provider.base_url), "steps: import time; time.sleep(3); final_answer(1)"], KERNEL
        )
        await page.run(0)
        await page.start(1)
        view = page.output(1).locator(".cw")
        await expect(view.locator(".cw-step").first).to_have_attribute("data-state", "running", timeout=30_000)
        await view.get_by_label("Tell the agent something").fill("Too late.")
        await view.get_by_role("button", name="Tell").click()
        await page.done()
        await expect(page.output(1)).to_contain_text("give it as the next task: Too late.")


async def test_e4_a_run_comes_back_live_and_leaves_no_widget(notebook: OpenNotebook) -> None:
    task = "steps: x = 1 ;; x = x + 10 ;; final_answer(x)"
    async with FakeProvider(reply=next_step) as provider:
        page = await notebook([told_of(provider.base_url), task, "%agent show", "%agent vars", "%agent show"], KERNEL)
        await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        for index in (0, 1, 2):
            await page.run(index)
        view = page.output(2).locator(".cw")
        await expect(view.locator(".cw-pill")).to_have_text("done")
        await expect(view.get_by_label("Tell the agent something")).to_be_hidden()
        await buttons(view, 2).get_by_role("button", name="Edit and go on").click()
        await expect(buttons(view, 2)).to_contain_text("Copied: paste it as a cell")
        assert await page.page.evaluate("navigator.clipboard.readText()") == "%%agent --step 2\nx = x + 10"
        await buttons(view, 1).get_by_role("button", name="Undo to here").click()
        await expect(view.locator(".cw-notes").first).to_contain_text("Taken back: all that came after step 1.")
        await page.run(3)
        await expect(page.output(3)).to_contain_text("x")
        await expect(page.output(3)).not_to_contain_text("11")
        await expect(page.output(2).locator(".cw")).to_have_count(0)
        await page.run(4)
        await expect(page.output(4).locator(".cw-pill")).to_have_text("done")
        await page.shut_down()
        await expect(page.output(4).locator(".cw")).to_have_count(0)
        saved = await page.save()
        assert set(saved.cells[2].outputs[0].data) == set(saved.cells[4].outputs[0].data) == {"text/html", "text/plain"}
        assert page.errors == []
