"""What code shows while it runs, through a real agent kernel: in a person's own cell, and in a step of the agent."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cellwright.terminal import written_over
from fake_provider import FakeProvider
from notebook import WIDGET, Cell, Notebook, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOON = 2.0
"""Seconds until a stop must have ended a cell, on a busy machine too; benchmarks/ hold it to 0.5."""
LIVE = "import sys, time\nprint('first', flush=True)\nprint('warned', file=sys.stderr, flush=True)\n"
LIVE += "print('second', flush=True)\ntime.sleep(1.5)\nprint('third')"
BAR = "import time\nfrom {tqdm} import tqdm\nfor _ in tqdm(range(5), desc='read'): time.sleep(0.25)\nprint('done')"
FIGURE = "import matplotlib.pyplot as plt\nprint('before')\nplt.plot([1, 2]); plt.show()\nprint('between')\n"
FIGURE += "plt.plot([2, 1]); plt.show()"
TABLE = "import pandas as pd\nfrom IPython.display import display\ndisplay(pd.DataFrame({'kind': ['a', 'b']}))"
CLEARED = "from IPython.display import clear_output\nimport time\nfor n in range(3):\n    clear_output(wait=True)\n"
CLEARED += "    print('turn', n, flush=True)\n    time.sleep(0.3)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def book(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    folder, base = tmp_path_factory.mktemp("book"), provider.base_url
    async with opened(
        "cellwright_kernel", folder, interrupt="message", OPENAI_API_BASE=base, OPENAI_BASE_URL=base
    ) as notebook:
        yield notebook


def told(cell: Cell) -> list[dict[str, Any]]:
    """What the live view was told, change by change."""
    sent = [content["data"].get("content", {}) for content in cell.of("comm_msg")]
    return [change for content in sent for change in content.get("changes", [])]


def shown(cell: Cell) -> dict[int, str]:
    """The outputs of the view's first step as they stand after all that it was told: text or markup, by number."""
    found: dict[int, str] = {}
    for change in told(cell):
        if change["op"] == "clear":
            found.clear()
        elif change["op"] == "text" and change["step"] == 1:
            before = found.get(change["index"], "")
            found[change["index"]] = before[: len(before) - change["drop"]] + change["text"]
        elif change["op"] == "output" and change["step"] == 1:
            found[change["index"]] = change["html"]
    return found


def twin(cell: Cell) -> str:
    """The HTML that stays."""
    return str(cell.of("update_display_data")[-1]["data"]["text/html"])


# ---- what is printed ------------------------------------------------------------------------------------------------


async def test_e7_a_cells_text_comes_while_it_runs_and_in_order(book: Notebook) -> None:
    request = book.send(f"%%py\n{LIVE}")
    await book.heard(request, "stream", 3)
    early = [(content["name"], content["text"]) for content in book.cells[request].of("stream")]
    assert early == [("stdout", "first\n"), ("stderr", "warned\n"), ("stdout", "second\n")]
    assert not book.cells[request].of("execute_reply") and not book._replies[request].done()
    assert (await book.done(request)).text == "first\nwarned\nsecond\nthird\n"


async def test_e7_a_steps_text_comes_while_it_runs_and_in_order(book: Notebook) -> None:
    request = book.send(f"py: {LIVE}")
    async with asyncio.timeout(20):
        while list(shown(book.cells[request]).values()) != ["first\n", "warned\n", "second\n"]:
            await asyncio.sleep(0.02)
    assert "third" not in str(told(book.cells[request])[-1]), "it is still running"
    cell = await book.done(request)
    assert list(shown(cell).values()) == ["first\n", "warned\n", "second\nthird\n"]
    assert [c["stream"] for c in told(cell) if c["op"] == "text"][:3] == ["stdout", "stderr", "stdout"]
    assert re.search("first.*warned.*second.*third", twin(cell), re.DOTALL)


@pytest.mark.parametrize("tqdm", ["tqdm", "tqdm.auto", "tqdm.notebook"])
async def test_e7_a_bar_moves_in_its_place_in_a_cell(book: Notebook, tqdm: str) -> None:
    cell = await book.run(f"%%py\n{BAR.format(tqdm=tqdm)}")
    drawn = [content["text"] for content in cell.of("stream") if content["name"] == "stderr"]
    assert len(drawn) >= 2, "it is drawn while the loop runs"
    assert all(text.startswith("\r") for text in drawn[1:] if text.strip()), drawn
    (line,) = written_over("", "".join(drawn)).strip().splitlines()
    assert line.startswith("read: 100%")
    assert "done\n" in cell.text


async def test_e7_a_bar_moves_in_its_place_in_a_step(book: Notebook) -> None:
    cell = await book.run(f"py: {BAR.format(tqdm='tqdm')}")
    bar = next(text for text in shown(cell).values() if "read" in text)
    assert bar.count("read:") == 1
    assert "100%" in bar
    drawn = [change for change in told(cell) if change["op"] == "text" and change["stream"] == "stderr"]
    assert len(drawn) >= 2, "it is drawn while the loop runs"
    assert twin(cell).count("read:") == 1


# ---- pictures and tables --------------------------------------------------------------------------------------------


async def test_e7_figures_stand_between_what_is_printed(book: Notebook) -> None:
    cell = await book.run(f"%%py\n{FIGURE}")
    kinds = [m["msg_type"] for m in cell.messages if m["msg_type"] in ("stream", "display_data")]
    assert kinds == ["stream", "display_data", "stream", "display_data"]
    for display in cell.of("display_data"):
        assert display["data"]["image/png"].startswith("iVBOR")
    cell = await book.run(f"py: {FIGURE}")
    assert ["<img" in html for html in shown(cell).values()] == [False, True, False, True]
    assert twin(cell).count("data:image/png;base64,iVBOR") == 2


async def test_e7_a_table_is_one(book: Notebook) -> None:
    (display,) = (await book.run(f"%%py\n{TABLE}")).of("display_data")
    assert "<th>kind</th>" in display["data"]["text/html"]
    assert "kind" in display["data"]["text/plain"]
    cell = await book.run(f"py: {TABLE}")
    assert "<th>kind</th>" in shown(cell)[0]
    assert "<th>kind</th>" in twin(cell)


# ---- what changes after it was shown --------------------------------------------------------------------------------


async def test_e7_a_display_changes_also_from_a_later_cell(book: Notebook) -> None:
    code = "from IPython.display import display, update_display\nhandle = display('one', display_id='mine')\n"
    cell = await book.run(f"%%py\n{code}handle.update('two')")
    assert [content["data"]["text/plain"] for content in cell.of("display_data")] == ["'one'"]
    (update,) = cell.of("update_display_data")
    assert (update["data"]["text/plain"], update["transient"]) == ("'two'", {"display_id": "mine"})
    later = await book.run("%%py\nupdate_display('three', display_id='mine')")
    (update,) = later.of("update_display_data")
    assert (update["data"]["text/plain"], update["transient"]) == ("'three'", {"display_id": "mine"})
    assert not later.of("display_data")


async def test_e7_a_display_changes_in_a_step(book: Notebook) -> None:
    code = "from IPython.display import display\nhandle = display('one', display_id=True)\nprint('printed')\n"
    cell = await book.run(f"py: {code}handle.update('two')")
    outputs = shown(cell)
    assert "two" in outputs[0]
    assert outputs[1] == "printed\n"
    assert ">&#x27;two&#x27;<" in twin(cell)
    assert ">&#x27;one&#x27;<" not in twin(cell)


async def test_e7_a_step_changes_what_an_earlier_one_has_shown(book: Notebook, provider: FakeProvider) -> None:
    first = "from IPython.display import display, update_display\ndisplay('one', display_id='his')"
    codes = iter([first, "update_display('two', display_id='his')", "final_answer('done')"])
    replies, provider.reply = provider.reply, lambda request: f"Next.\n```python\n{next(codes)}\n```"
    try:
        cell = await book.run("Show, then change it.")
    finally:
        provider.reply = replies
    assert "two" in shown(cell)[0]
    text = cell.of("update_display_data")[-1]["data"]["text/plain"]
    assert "\n  'two'\n" in text and "\n  'one'\n" not in text


async def test_e7_output_is_cleared_when_the_next_comes(book: Notebook) -> None:
    cell = await book.run(f"%%py\n{CLEARED}")
    said = [(m["msg_type"], m["content"].get("text", m["content"].get("wait"))) for m in cell.messages]
    said = [(kind, what) for kind, what in said if kind in ("clear_output", "stream")]
    turns = [[("clear_output", True), ("stream", f"turn {n}\n")] for n in range(3)]
    assert said == [item for turn in turns for item in turn]
    cell = await book.run(f"py: {CLEARED}")
    assert list(shown(cell).values()) == ["turn 2\n"]
    assert len([change for change in told(cell) if change["op"] == "clear"]) == 3
    assert "turn 2" in twin(cell) and "turn 1" not in twin(cell)


async def test_e7_a_step_that_ends_while_it_waits_to_clear_keeps_what_it_has_shown(book: Notebook) -> None:
    code = "from IPython.display import clear_output\nprint('stays')\nclear_output(wait=True)"
    cell = await book.run(f"py: {code}")
    assert list(shown(cell).values()) == ["stays\n"]
    assert "\n  stays\n" in cell.of("update_display_data")[-1]["data"]["text/plain"]


async def test_e7_a_cell_that_shows_an_error_and_goes_on_has_not_failed(book: Notebook) -> None:
    code = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()\nprint('goes on')"
    cell = await book.run(f"%%py\n{code}")
    assert cell.is_ok
    kinds = [m["msg_type"] for m in cell.messages if m["msg_type"] in ("stream", "error")]
    assert kinds == ["error", "stream"]
    assert cell.of("error")[0]["ename"] == "ZeroDivisionError"


# ---- input() --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["%%py\n{}", "py: {}"], ids=["cell", "step"])
async def test_e7_a_line_and_a_password_are_asked_for(book: Notebook, source: str) -> None:
    code = "import getpass\nsaid = [input('Name? '), getpass.getpass('Word? ')]"
    request = book.send(source.format(code), allow_stdin=True)
    for prompt, is_hidden, line in (("Name? ", False, "Ada"), ("Word? ", True, "hush")):
        question = (await book.client.get_stdin_msg(timeout=20))["content"]
        assert question["prompt"].endswith(prompt)
        assert question["password"] is is_hidden
        assert question["prompt"].startswith("The agent's code asks: ") == source.startswith("py:")
        book.client.input(line)
    cell = await book.done(request)
    assert cell.is_ok, cell.reply
    assert "hush" not in str(cell.messages), "what was typed unseen is shown nowhere"
    assert (await book.run("%%py\nsaid")).result == "['Ada', 'hush']"


@pytest.mark.parametrize("source", ["%%py\n{}", "py: {}"], ids=["cell", "step"])
async def test_e7_a_question_can_be_stopped_and_the_sandbox_stays(book: Notebook, source: str) -> None:
    await book.run("%%py\nkept = 1")
    request = book.send(source.format("import getpass\ngetpass.getpass('Word? ')"), allow_stdin=True)
    await book.client.get_stdin_msg(timeout=20)
    begun = time.monotonic()
    await book.manager.interrupt_kernel()
    cell = await book.done(request)
    assert time.monotonic() - begun < SOON
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert (await book.run("%%py\nkept")).result == "1"


async def test_e7_a_step_without_a_person_is_told_so(book: Notebook) -> None:
    cell = await book.run("py: input('Name? ')")
    assert "nobody is there to type" in twin(cell) or "Nothing was typed" in twin(cell)
    assert WIDGET not in str(cell.of("update_display_data")[-1])
