"""The Cellwright kernel, driven as a front end drives it: a real process, its real sandbox, a provider on loopback."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio

from fake_provider import FakeProvider
from notebook import WIDGET, Notebook, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOON = 2.0
"""Seconds within which an interrupt must have ended a cell, on a busy machine too; benchmarks/ hold it to 0.5."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def book(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    async with _opened(provider, tmp_path_factory.mktemp("book")) as notebook:
        yield notebook


def _opened(provider: FakeProvider, folder: Path, **more: str) -> AbstractAsyncContextManager[Notebook]:
    base = provider.base_url
    return opened("cellwright_kernel", folder, interrupt="message", OPENAI_API_BASE=base, OPENAI_BASE_URL=base, **more)


async def test_e1_a_task_is_shown_live_and_its_answer_is_the_result(book: Notebook) -> None:
    cell = await book.run("Multiply.\npy: print('seen')\nfinal_answer(6 * 7)")
    assert cell.is_ok
    (live,) = cell.of("display_data")
    assert WIDGET in live["data"]
    assert {"text/html", "text/plain"} <= set(live["data"])
    (twin,) = cell.of("update_display_data")
    assert twin["transient"] == live["transient"]
    assert WIDGET not in twin["data"]
    assert "seen" in twin["data"]["text/html"]
    assert cell.result == "42"
    assert cell.messages[-1]["content"] == {"execution_state": "idle"}


async def test_the_next_task_goes_on(book: Notebook, provider: FakeProvider) -> None:
    await book.run("py: final_answer('first')")
    before = len(provider.requests[-1]["messages"])
    await book.run("py: final_answer('second')")
    assert len(provider.requests[-1]["messages"]) > before


async def test_a_rich_answer_is_rich(book: Notebook) -> None:
    cell = await book.run("Table.\npy: import pandas as pd\nfinal_answer(pd.DataFrame({'a': [1]}))")
    assert "<table" in cell.of("execute_result")[0]["data"]["text/html"]


async def test_e1_python_by_hand_shares_the_variables(book: Notebook) -> None:
    assert (await book.run("%%py\nx = 5\nprint('by hand')\nx + 1")).text == "by hand\n"
    assert (await book.run("%%py\nx + 1")).result == "6"
    assert (await book.run("py: final_answer(x + 2)")).result == "7"


async def test_python_by_hand_fails_like_any_cell(book: Notebook) -> None:
    cell = await book.run("%%py\n1 / 0")
    assert cell.reply["ename"] == "ZeroDivisionError"
    assert len(cell.of("error")) == 1
    assert (await book.run("%%py\n1 + 1")).result == "2"


async def test_e7_rich_output_by_hand(book: Notebook) -> None:
    cell = await book.run("%%py\nfrom IPython.display import HTML, display; display(HTML('<b>x</b>'))")
    assert cell.of("display_data")[0]["data"]["text/html"] == "<b>x</b>"


async def test_e1_a_tool_is_called_in_the_host(book: Notebook) -> None:
    code = '%%tool\nimport os\ndef where(word: str) -> str:\n    """Say where.\n\n    word: any\n    """\n'
    made = await book.run(code + "    return f'{word} {os.getpid()}'")
    assert made.is_ok and "where" in made.text
    host = (await book.run("py: final_answer(where('in'))")).result
    inside = (await book.run("%%py\nimport os; os.getpid()")).result
    assert "in " in host
    assert host != f"'in {inside}'"
    assert host != f"'in {os.getpid()}'", "the host is the kernel, not this test"
    assert "where" in (await book.run("%agent tools")).result


@pytest.mark.parametrize("body", ["x = 1", "def f(a: int) -> int:\n    return a"])
async def test_a_cell_without_a_tool_says_so(book: Notebook, body: str) -> None:
    cell = await book.run(f"%%tool\n{body}")
    assert cell.reply["ename"] == "UsageError"
    assert "no tool" in cell.reply["evalue"]


async def test_a_tool_cell_that_fails_shows_one_error(book: Notebook) -> None:
    cell = await book.run("%%tool\n1 / 0")
    assert cell.reply["ename"] == "ZeroDivisionError"
    assert len(cell.of("error")) == 1


async def test_e1_a_variable_in_braces_is_filled_in(book: Notebook, provider: FakeProvider) -> None:
    await book.run("%%py\ntown = 'Bergen'")
    await book.run("Say {town} and {nothing_of_that_name}.")
    assert "Say Bergen and {nothing_of_that_name}." in provider.requests[-1]["messages"][-1]["content"]


async def test_a_run_that_fails_is_one_error_and_the_next_cell_works(book: Notebook) -> None:
    cell = await book.run("%%agent --max-steps 1\npy: print('no answer')")
    assert cell.reply["status"] == "error"
    (error,) = cell.of("error")
    assert error["ename"] == "RunFailed"
    assert "\n" not in error["evalue"]
    assert (await book.run("py: final_answer(1)")).result == "1"


async def test_a_provider_that_refuses_is_one_line(book: Notebook, provider: FakeProvider) -> None:
    provider.mode = "wrong_key"
    try:
        cell = await book.run("anything")
    finally:
        provider.mode = "ok"
    (error,) = cell.of("error")
    assert len(error["traceback"]) == 1
    assert "key" in error["evalue"].lower()


@pytest.mark.parametrize("source", ["", "   \n"])
async def test_an_empty_cell_is_nothing(book: Notebook, source: str) -> None:
    cell = await book.run(source)
    assert cell.is_ok
    assert not cell.of("error") and not cell.of("display_data")


async def test_line_magics_run_in_the_sandbox(book: Notebook) -> None:
    await book.run("%%py\nhidden = 1")
    assert "hidden" in (await book.run("%who")).text
    assert "hi" in (await book.run("!echo hi")).text
    pager = (await book.run("len?")).reply["payload"]
    assert pager[0]["source"] == "page"


async def test_e1_completion_and_inspection_ask_the_sandbox(book: Notebook) -> None:
    await book.run("%%py\nlong_name_of_mine = 3")
    assert "long_name_of_mine" in (await book.ask(book.client.complete("long_na")))["matches"]
    reply = await book.ask(book.client.complete("%%py\nlong_na"))
    assert "long_name_of_mine" in reply["matches"]
    assert reply["cursor_start"] == 5
    assert (await book.ask(book.client.complete("%agent mo")))["matches"] == ["model"]
    assert (await book.ask(book.client.inspect("long_name_of_mine")))["found"]


@pytest.mark.parametrize("source", ["%%py\nimport time; time.sleep(2)", "py: import time; time.sleep(2)"])
async def test_completion_answers_while_a_cell_runs(book: Notebook, source: str) -> None:
    request = book.send(source)
    await asyncio.sleep(0.7)
    # All are sent before the first answer is read.
    smalls = [book.client.complete("zi"), book.client.inspect("zip"), book.client.is_complete("a task")]
    for small in [book.expect(small) for small in smalls]:
        assert (await book.done(small, 1.0)).reply["status"]
    assert (await book.done(request)).is_ok


async def test_interrupt_ends_python_by_hand(book: Notebook) -> None:
    request = book.send("%%py\nprint('on', flush=True)\nimport time; time.sleep(30)")
    await book.heard(request, "stream")
    begun = time.monotonic()
    await book.manager.interrupt_kernel()
    cell = await book.done(request)
    assert time.monotonic() - begun < SOON
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert (await book.run("%%py\n1 + 1")).result == "2"


async def test_interrupt_ends_a_reply_that_keeps_one_waiting(book: Notebook, provider: FakeProvider) -> None:
    provider.mode, asked = "slow", len(provider.requests)
    provider.closed_early.clear()
    try:
        request = book.send("wait")
        await book.heard(request, "display_data")
        while len(provider.requests) == asked:
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        await book.manager.interrupt_kernel()
        cell = await book.done(request)
        assert time.monotonic() - begun < SOON
        assert cell.reply["ename"] == "KeyboardInterrupt"
        assert len(cell.of("error")) == 1
        await asyncio.wait_for(provider.closed_early.wait(), 2)
    finally:
        provider.mode = "ok"
    assert (await book.run("py: final_answer(2)")).result == "2"


async def test_stop_in_the_view_ends_the_task(book: Notebook) -> None:
    request = book.send("py: import time; time.sleep(30)")
    shown = (await book.heard(request, "display_data"))["data"][WIDGET]["model_id"]
    await asyncio.sleep(0.7)
    content = {"comm_id": shown, "data": {"method": "custom", "content": {"op": "stop"}}}
    begun = time.monotonic()
    book.client.shell_channel.send(book.client.session.msg("comm_msg", content))
    cell = await book.done(request)
    assert time.monotonic() - begun < SOON
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert (
        "interrupted" in str(cell.of("update_display_data")[-1]["data"]).lower()
        or "stopped" in str(cell.of("update_display_data")[-1]["data"]).lower()
    )


async def test_e3_a_click_does_not_make_the_kernel_look_idle(book: Notebook) -> None:
    request = book.send("py: import time; time.sleep(3)")
    shown = (await book.heard(request, "display_data"))["data"][WIDGET]["model_id"]
    click = book.client.session.msg("comm_msg", {"comm_id": shown, "data": {"method": "custom", "content": {}}})
    book.expect(click["header"]["msg_id"])
    book.client.shell_channel.send(click)
    await book.heard(request, "status", count=2)
    states = [content["execution_state"] for content in book.cells[request].of("status")]
    assert states == ["busy", "busy"]
    assert (await book.done(request)).of("status")[-1]["execution_state"] == "idle"


async def test_e7_input_is_asked_of_the_person(book: Notebook) -> None:
    request = book.send("%%py\ninput('Name? ')", allow_stdin=True)
    question = await book.client.get_stdin_msg(timeout=10)
    assert "Name? " in question["content"]["prompt"]
    assert question["parent_header"]["msg_id"] == request
    book.client.input("Ada")
    assert (await book.done(request)).result == "'Ada'"


async def test_input_without_a_person_fails(book: Notebook) -> None:
    cell = await book.run("%%py\ninput('Name? ')")
    assert cell.reply["status"] == "error"
    assert (await book.run("%%py\n1")).result == "1"


async def test_interrupt_ends_a_question(book: Notebook) -> None:
    request = book.send("%%py\ninput('Name? ')", allow_stdin=True)
    await book.client.get_stdin_msg(timeout=10)
    begun = time.monotonic()
    await book.manager.interrupt_kernel()
    cell = await book.done(request)
    assert time.monotonic() - begun < SOON
    assert not cell.is_ok
    assert (await book.run("%%py\n1")).result == "1"


async def test_outputs_belong_to_their_cell(book: Notebook) -> None:
    requests = [book.send(f"%%py\nprint('cell {n}')") for n in range(3)]
    cells = [await book.done(request) for request in requests]
    assert [cell.text for cell in cells] == ["cell 0\n", "cell 1\n", "cell 2\n"]


async def test_a_sandbox_that_dies_is_told_in_one_line(book: Notebook) -> None:
    cell = await book.run("%%py\nimport os; os._exit(3)")
    (error,) = cell.of("error")
    assert "\n" not in error["evalue"]
    assert (await book.run("%%py\n'alive'")).result == "'alive'"


async def test_shutdown_leaves_nothing_behind(provider: FakeProvider, tmp_path: Path) -> None:
    # Not isolated, so that the number that the sandbox has for its process is the one that it has here.
    async with _opened(provider, tmp_path, CELLWRIGHT_ISOLATION="process") as notebook:
        child = int((await notebook.run("%%py\nimport os; os.getpid()")).result)
        os.kill(child, 0)
        notebook.send("%%py\nimport time; time.sleep(60)")
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        await notebook.manager.shutdown_kernel()
        assert time.monotonic() - begun < 5
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


# ---- one cell after another -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["py: import time; time.sleep(1.5)", "%%py\nimport time; time.sleep(1.5)"])
async def test_e1_a_cell_run_during_a_run_waits_for_it(book: Notebook, first: str) -> None:
    requests = [book.send(first), book.send("%%py\nprint('next')"), book.send("py: final_answer('last')")]
    await asyncio.sleep(0.5)
    assert not any(book.cells[request].of("execute_input") for request in requests[1:])
    done = [await book.done(request) for request in requests]
    assert all(cell.is_ok for cell in done)
    assert done[1].text == "next\n"
    assert done[2].result == "'last'"
    begun = [cell.messages[0]["header"]["date"] for cell in done]
    ended = [cell.messages[-1]["header"]["date"] for cell in done]
    assert ended[0] <= begun[1] <= ended[1] <= begun[2]


@pytest.mark.parametrize(
    "first", ["%%agent --max-steps 1\npy: print('no answer')", "%%py\n1 / 0", "%agent stepz", "%%tool\nx = 1"]
)
async def test_e1_run_all_stops_at_the_first_cell_that_fails(book: Notebook, first: str) -> None:
    cells = [first, "%%py\nprint('not run')", "Not asked.\npy: final_answer(1)"]
    requests = [book.send(cell, stop_on_error=True) for cell in cells]
    failed, *others = [await book.done(request) for request in requests]
    assert failed.reply["status"] == "error"
    assert [cell.reply["status"] for cell in others] == ["aborted", "aborted"]
    assert not any(cell.of("execute_input") or cell.of("stream") for cell in others)
    assert (await book.run("%%py\n'goes on'")).result == "'goes on'"


async def test_e1_a_stopped_task_stops_run_all(book: Notebook) -> None:
    first = book.send("py: import time; time.sleep(30)", stop_on_error=True)
    second = book.send("%%py\nprint('not run')", stop_on_error=True)
    await book.heard(first, "display_data")
    await asyncio.sleep(0.5)
    await book.manager.interrupt_kernel()
    assert (await book.done(first)).reply["ename"] == "KeyboardInterrupt"
    assert (await book.done(second)).reply["status"] == "aborted"


# ---- what front ends ask --------------------------------------------------------------------------------------------


async def test_e1_history_holds_the_cells_as_they_were_written(book: Notebook) -> None:
    cells = ["Zählen 🐧.\npy: final_answer(1)", "%%py\nx = 1", "%agent vars"]
    for cell in cells:
        await book.run(cell)
    found = await book.ask(book.client.history(raw=True, output=False, hist_access_type="tail", n=3))
    assert [entry[2] for entry in found["history"]] == cells
    found = await book.ask(book.client.history(raw=True, output=False, hist_access_type="search", pattern="*Zählen*"))
    assert [entry[2] for entry in found["history"]] == cells[:1]
    await book.run("%%py\n'not kept'", store_history=False)
    found = await book.ask(book.client.history(raw=True, output=False, hist_access_type="tail", n=1))
    assert found["history"][0][2] == cells[-1]


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("Plot it.", "complete"),
        ("Plot it,\\", "incomplete"),
        ("%%py\nif x:\n    y", "incomplete"),
        ("%%py\nif x:\n    y\n", "complete"),
        ("%agent steps", "complete"),
        ("!ls", "complete"),
    ],
)
async def test_e1_a_console_is_told_whether_a_cell_is_whole(book: Notebook, source: str, status: str) -> None:
    assert (await book.ask(book.client.is_complete(source)))["status"] == status


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("%%agent?", "--approve"),
        ("%agent?", "%agent steps"),
        ("%agent runs?", "--status"),
        ("len?", "Return the number of items"),
        ("len??", "Return the number of items"),
        ("?len", "Return the number of items"),
    ],
)
async def test_e1_help_is_shown_beside_the_notebook(book: Notebook, source: str, said: str) -> None:
    cell = await book.run(source)
    (page,) = cell.reply["payload"]
    assert page["source"] == "page"
    assert said in page["data"]["text/plain"]
    assert not cell.of("execute_result")


async def test_e1_options_have_help_and_mistakes_are_one_line(book: Notebook) -> None:
    assert "--approve MODE" in (await book.run("%%agent --help")).result
    for line, said in (("--aprove ask", "--approve"), ("--context 2", "knows the cells before"), ("--in x", "--in")):
        (error,) = (await book.run(f"%%agent {line}\nDo it.")).of("error")
        assert said in error["evalue"]
        assert len(error["traceback"]) == 1
