"""The live view in JupyterLab: how soon a click takes effect while a cell runs, and what a long run costs the page.

All times are taken in the page: from the click's event to the change in the document that shows what the kernel did
with it; from the first message of a run to the frame in which its last step stands. Messages are counted as the page
gets them. The rival is what comes to mind first: one trait with the run as HTML, sent whole after each step.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .table import show

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from browser.lab import Lab, Notebook
    from fake_provider import FakeProvider

TESTS = Path(__file__).resolve().parent.parent / "tests"
CLICKS = 25
RUNS = 3
SETUP = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from browser.played import *
import anywidget, traitlets
from cellwright.events import ActionFinished
from cellwright.run import Run
from cellwright_extension.view import static_html
from cellwright_extension.widget import RunView

class Whole(anywidget.AnyWidget):
    _esm = '''export default {{ render({{ model, el }}) {{
      el.classList.add("whole");
      model.on("change:html", () => {{ el.innerHTML = model.get("html"); }});
    }} }}'''
    html = traitlets.Unicode().tag(sync=True)

    def __init__(self):
        super().__init__()
        self.run = Run()

    def take(self, event):
        self.run.add(event)
        if isinstance(event, ActionFinished):
            self.html = static_html(self.run)
"""
PLAY = "view = {widget}()\ndisplay(view)\nawait asyncio.sleep(2)\nawait play(long_run({steps}), view.take, {wait})"
# Notes every comm message as it comes in, and the frame in which the run is whole.
LISTEN = """([whole, steps]) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const heard = { times: [], bytes: 0, drawn: null };
  window.heard = heard;
  kernel.iopubMessage.connect((_, message) => {
    if (message.header.msg_type !== 'comm_msg' || heard.drawn) return;
    heard.times.push(performance.now());
    heard.bytes += new TextEncoder().encode(JSON.stringify(message.content)).length;
  });
  const look = () => {
    const view = document.querySelector(whole ? '.whole' : '.cw');
    const there = view?.querySelectorAll(whole ? 'summary' : '.cw-step').length === steps;
    const ended = whole || view?.querySelector('.cw-pill').textContent === 'out of steps';
    if (there && ended && view.scrollHeight) heard.drawn = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
# From a click in the view to what shows that the kernel did it: the question is gone, the run has stopped.
WATCH = """() => {
  window.took = [];
  document.addEventListener('click', click => {
    const button = click.target.closest('.cw button');
    if (!button) return;
    const area = button.closest('.jp-Cell-outputArea');
    const question = button.closest('.cw-ask');
    const isDone = question
      ? () => !question.isConnected
      : () => /stopped/.test(area.querySelector('.cw-pill, summary, b')?.parentElement.textContent ?? area.textContent);
    const seen = new MutationObserver(() => {
      if (!isDone()) return;
      seen.disconnect();
      window.took.push(performance.now() - click.timeStamp);
    });
    seen.observe(area, { childList: true, characterData: true, subtree: true });
  }, true);
}"""


@dataclass(frozen=True)
class Long:
    """What a long run cost the page."""

    seconds: float
    kilobytes: float
    messages: int
    per_second: int
    """The most messages in any one second."""


async def measure_view() -> None:
    """Clicks, a run of 100 steps beside its rival, the rate of messages, the size of script and style."""
    sys.path.insert(0, str(TESTS))
    from playwright.async_api import async_playwright

    from browser.lab import CHROMIUM_ARGS, chromium, running_lab

    with tempfile.TemporaryDirectory() as folder:
        root, own = _folders(folder)
        with running_lab(root, own, {"CELLWRIGHT_JOURNAL": str(own / "journal.sqlite")}) as lab:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
                await _measure_clicks(lab, browser)
                await _measure_long_runs(lab, browser)
                await browser.close()


def _folders(folder: str) -> tuple[Path, Path]:
    """What the server shows, and what it keeps for itself."""
    root, own = Path(folder, "root"), Path(folder, "own")
    root.mkdir()
    own.mkdir()
    return root, own


@asynccontextmanager
async def _opened(lab: Lab, browser: Browser, cells: list[str], kernel: str) -> AsyncIterator[Notebook]:
    from browser.lab import Notebook

    page = await browser.new_page(viewport={"width": 1180, "height": 1000})
    notebook = Notebook(page, lab, lab.write("view.ipynb", cells, kernel))
    await notebook.open()
    yield notebook
    await page.close()
    await notebook.shut_down()


# ---- clicks ---------------------------------------------------------------------------------------------------------


def _next_action(request: dict[str, Any]) -> str:
    """One more action of many, each of which a person is asked about."""
    done = sum(message["role"] == "assistant" for message in request["messages"])
    return f"I go on.\n```python\n{'final_answer(1)' if done >= CLICKS else f'x = {done}'}\n```"


async def _measure_clicks(lab: Lab, browser: Browser) -> None:
    from browser.agent_kernel import KERNEL, told_of
    from fake_provider import FakeProvider

    async with FakeProvider(reply=_next_action) as provider:
        limits = f"%agent limits --max-steps {CLICKS + 2}"
        cells = [told_of(provider.base_url), "%agent approve ask", limits, "Go on.", "%agent approve auto", "Wait."]
        async with _opened(lab, browser, cells, KERNEL) as notebook:
            await notebook.page.evaluate(WATCH)
            for index in range(3):
                await notebook.run(index)
            rows = [await _approvals(notebook)]
            provider.reply, provider.pace = "and so on " * 5000, 0.02  # a word every 20 ms, without an end
            await notebook.run(4)
            rows.append(await _stops(notebook, provider))
    title = f"A click while a cell runs, to its effect in the page, {CLICKS} times each (target: median 100 ms)"
    show(title, ["click", "median ms", "longest ms"], rows)


async def _approvals(notebook: Notebook) -> list[str]:
    await notebook.start(3)
    for number in range(1, CLICKS + 1):
        ask = notebook.output(3).locator(".cw-step").nth(number - 1).locator(".cw-ask")
        await ask.get_by_role("button", name="Run", exact=True).click(timeout=60_000)
        await notebook.page.wait_for_function(f"window.took.length === {number}")
    await notebook.output(3).locator(".cw-ask").get_by_role("button", name="Run", exact=True).click()
    await notebook.done()
    return ["Run, to the question being gone", *_median(await _took(notebook))]


async def _stops(notebook: Notebook, provider: FakeProvider) -> list[str]:
    await notebook.page.evaluate("window.took = []")
    for number in range(1, CLICKS + 1):
        asked = len(provider.requests)
        await notebook.start(5)
        await notebook.output(5).locator(".cw-thought").filter(has_text="and").first.wait_for(timeout=60_000)
        assert len(provider.requests) > asked
        await notebook.output(5).locator(".cw-stop").click()
        await notebook.page.wait_for_function(f"window.took.length === {number}")
        await notebook.done()
    return ["Stop, to the run having stopped", *_median(await _took(notebook))]


async def _took(notebook: Notebook) -> list[float]:
    took: list[float] = await notebook.page.evaluate("window.took")
    return took[:CLICKS]


def _median(took: list[float]) -> list[str]:
    return [f"{median(took):.0f}", f"{max(took):.0f}"]


# ---- long runs ------------------------------------------------------------------------------------------------------


async def _measure_long_runs(lab: Lab, browser: Browser) -> None:
    ours, rival = list[Long](), list[Long]()
    for _ in range(RUNS):
        ours.append(await _played(lab, browser, "RunView"))
        rival.append(await _played(lab, browser, "Whole"))
    rows = [_row("our view", ours), _row("one trait, sent whole", rival)]
    ratio = median(run.seconds for run in rival) / median(run.seconds for run in ours)
    title = f"100 steps at once, {RUNS} times (target: 450 KB, 2.5 s); the rival takes {ratio:.1f} times as long"
    show(title, ["", "s until drawn", "KB", "messages"], rows)
    streamed = await _played(lab, browser, "RunView", steps=15, wait=0.01)
    rows = [["most messages in one second, words coming in steadily", f"{streamed.per_second}", "20"], _travelling()]
    show("Rate and size", ["", "measured", "target"], rows)
    print(f"Load {os.getloadavg()[0]:.1f}.", flush=True)


def _row(name: str, runs: list[Long]) -> list[str]:
    seconds, size = median(run.seconds for run in runs), median(run.kilobytes for run in runs)
    return [name, f"{seconds:.2f}", f"{size:.0f}", f"{median(run.messages for run in runs):.0f}"]


async def _played(lab: Lab, browser: Browser, widget: str, steps: int = 100, wait: float = 0.0) -> Long:
    cell = PLAY.format(widget=widget, steps=steps, wait=wait)
    async with _opened(lab, browser, [SETUP, cell], "python3") as notebook:
        await notebook.run(0)
        await notebook.page.evaluate(LISTEN, [widget == "Whole", steps])
        await notebook.run(1, 120)
        await notebook.page.wait_for_function("window.heard.drawn", timeout=120_000)
        heard = await notebook.page.evaluate("window.heard")
    times = heard["times"]
    begun = _after_pause(times)
    most = max(sum(start <= time < start + 1000 for time in times) for start in times)
    return Long((heard["drawn"] - times[begun]) / 1000, heard["bytes"] / 1000, len(times) - begun, most)


def _after_pause(times: list[float]) -> int:
    """Index of the first message of the run: it comes after the longest pause."""
    pauses = [later - earlier for earlier, later in pairwise(times)]
    return 1 + pauses.index(max(pauses)) if pauses and max(pauses) > 1000 else 0


def _travelling() -> list[str]:
    from cellwright_extension.widget import RunView

    size = len(f"{RunView._esm}{RunView._css}".encode())
    return ["bytes of script and style, as they travel", f"{size:,}", "25,000"]
