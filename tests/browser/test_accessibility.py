"""axe-core looks at the view as it stands in JupyterLab, in light and dark, in every state a person meets.

What axe-core calls serious or critical fails; its rules are those of WCAG 2.2 A and AA, and its own best practices.
"""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, expect

from browser.agent_kernel import KERNEL, told_of
from browser.lab import Notebook, OpenNotebook
from browser.test_nested import NESTED, agent
from browser.test_view_browser import SETUP
from fake_provider import FakeProvider, echo

THEMES = pytest.mark.parametrize("theme", ["Light", "Dark"])
GRAVE = ("serious", "critical")


async def violations(page: Notebook, selector: str, besides: str = ".none") -> list[str]:
    """What axe-core finds within `selector`, but not in `besides`, as lines: rule, what is wrong, where."""
    await page.page.evaluate(READY)
    found = (await Axe().run(page.page, context={"include": [selector], "exclude": [besides]}, options={})).response
    contrast = [rule for rule in found["passes"] + found["violations"] if rule["id"] == "color-contrast"]
    assert sum(len(rule["nodes"]) for rule in contrast) > 5, "colours were looked at"
    return [_line(rule, node) for rule in found["violations"] if rule["impact"] in GRAVE for node in rule["nodes"]]


def _line(rule: dict[str, Any], node: dict[str, Any]) -> str:
    why = "; ".join(str(check["message"]) for check in [*node["any"], *node["all"], *node["none"]])
    return f"{rule['id']} ({rule['impact']}): {why} · {node['html'][:160]}"


# What fades in has the wrong contrast until it is there. And JupyterLab's body is 0 pixels high and hides what flows
# over, so that axe-core takes everything for hidden and looks at no colour.
READY = """() => {
  document.body.style.overflow = 'visible';
  const once = document.getAnimations().filter(one => one.effect.getTiming().iterations === 1);
  return Promise.all(once.map(one => one.finished));
}"""
VIEW = '.jp-Cell[data-windowed-list-index="1"] .cw'
TWIN = '.jp-Cell[data-windowed-list-index="1"] .jp-Cell-outputArea'


async def opened(notebook: OpenNotebook, events: str, theme: str, setup: str = SETUP) -> tuple[Notebook, Locator]:
    """A notebook in which cell 1 plays events, and its view."""
    page = await notebook([setup, events], height=1500)
    await page.use_theme(f"JupyterLab {theme}")
    await page.run(0)
    await page.start(1)
    return page, page.output(1).locator(".cw")


@THEMES
async def test_e3_axe_finds_nothing_grave_while_a_reply_is_written(notebook: OpenNotebook, theme: str) -> None:
    page, view = await opened(notebook, "await show(analysis(picture), 0.4)", theme)
    await expect(view.locator(".cw-live-code")).to_contain_text("import pandas", timeout=60_000)
    await expect(view.locator(".cw-pill")).to_have_text("running")
    assert await violations(page, VIEW) == []
    await view.get_by_role("button", name="Stop").click()
    await page.done()


@THEMES
async def test_e3_axe_finds_nothing_grave_in_a_finished_run_with_an_error(notebook: OpenNotebook, theme: str) -> None:
    page, view = await opened(notebook, "await show(analysis(picture), keep=True)", theme)
    await page.done()
    await expect(view.locator(".cw-step[data-state=error]")).to_have_count(1)
    await expect(view.locator(".cw-answer")).to_contain_text("Gentoo")
    assert await violations(page, VIEW) == []
    await view.get_by_text("Collapse all").click()
    assert await violations(page, VIEW) == []


@THEMES
async def test_e3_axe_finds_nothing_grave_in_agents_and_calls(notebook: OpenNotebook, theme: str) -> None:
    page, view = await opened(notebook, "await show(team(picture), 0.05, keep=True)", theme, NESTED)
    await expect(agent(view, 1).locator("table")).to_be_visible(timeout=60_000)
    assert await violations(page, VIEW) == []
    await page.done()
    await agent(view, 0).locator("> summary").click()
    assert await violations(page, VIEW) == []


@THEMES
async def test_e5_axe_finds_nothing_grave_in_a_question(notebook: OpenNotebook, theme: str) -> None:
    async with FakeProvider(reply=echo) as provider:
        page = await notebook(
            [told_of(provider.base_url), "py: import subprocess; final_answer(1)", "%agent approve ask"], KERNEL
        )
        await page.use_theme(f"JupyterLab {theme}")
        await page.run(0)
        await page.run(2)
        await page.start(1)
        ask = page.output(1).locator(".cw-ask")
        await expect(ask).to_be_visible(timeout=60_000)
        assert await violations(page, VIEW) == []
        for name in ("Edit", "Deny"):
            await ask.get_by_role("button", name=name, exact=True).click()
            assert await violations(page, VIEW) == []
            await ask.get_by_role("button", name="Back").click()
        await ask.get_by_role("button", name="Run", exact=True).click()
        await page.done()


@THEMES
async def test_e4_axe_finds_nothing_grave_in_the_static_twin(notebook: OpenNotebook, theme: str) -> None:
    page, _ = await opened(notebook, "await show(analysis(picture))", theme)
    await page.done()
    for number in (1, 2):
        await page.output(1).locator("summary", has_text=f"Step {number}").click()
    # The colours of code are the page's own, for `.highlight`; JupyterLab's dark ones are too dark for axe-core.
    assert await violations(page, TWIN, besides=".highlight span") == []


SPOIL = """() => {
  const view = document.querySelector('.cw');
  view.querySelector('.cw-task').style.cssText = 'color: #999; background: #aaa';
  view.querySelector('.cw-steps').insertAdjacentHTML('beforebegin', '<button></button><img src="data:,">');
}"""


async def test_e3_axe_would_find_what_is_wrong(notebook: OpenNotebook) -> None:
    page, view = await opened(notebook, "await show(analysis(picture), keep=True)", "Light")
    await page.done()
    await expect(view.locator(".cw-answer")).to_contain_text("Gentoo")
    await page.page.evaluate(SPOIL)
    found = [line.partition(" ")[0] for line in await violations(page, VIEW)]
    assert sorted(set(found)) == ["button-name", "color-contrast", "image-alt"]


LONG = """
def long():
    yield started()
    far = "'a line that is far too long for the page' + ' and goes on' + 'x' * 60 + 'y' * 60"
    code = "\\n".join(f"row_{number} = {far}" for number in range(60))
    wide = "<table><tr>" + "<td>a wide cell</td>" * 60 + "</tr></table>"
    lines = "".join(f"line {number}\\n" for number in range(300))
    shown = [Stream("stdout", lines), Display({"text/html": wide, "text/plain": "a table"})]
    yield from turn(1, "A long step.", code, *shown)
    yield AnswerGiven(step=1, data={"text/html": wide, "text/plain": "a table"})
    yield ended(steps=1)
"""


async def test_e3_axe_finds_nothing_grave_where_things_scroll(notebook: OpenNotebook) -> None:
    page, view = await opened(notebook, "await show(long(), keep=True)", "Light", SETUP + LONG)
    await page.done()
    await expect(view.locator(".cw-answer")).to_contain_text("a wide cell")
    assert await violations(page, VIEW) == []
