"""Widgets made in the sandbox: without isolation they work in the notebook, with it nothing of them leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fake_provider import FakeProvider
from notebook import WIDGET, Cell, Notebook, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
COMMS = ("comm_open", "comm_msg", "comm_close")
Message = dict[str, Any]


class Page:
    """The page's halves of the widgets: hears all that is said of comms, and talks back."""

    def __init__(self, book: Notebook) -> None:
        self.book = book

    @property
    def said(self) -> list[Message]:
        """All messages about comms, in order."""
        return [m for cell in self.book.cells.values() for m in cell.messages if m["msg_type"] in COMMS]

    def opened(self, model: str) -> list[Message]:
        """The `comm_open` messages of widgets of a kind."""
        opens = [m for m in self.said if m["msg_type"] == "comm_open"]
        return [m for m in opens if m["content"]["data"]["state"].get("_model_name") == model]

    def tell(self, comm_id: str, data: Message, kind: str = "comm_msg", **more: object) -> str:
        """Say something to a widget; the request's id."""
        session = self.book.client.session
        message = session.msg(kind, {"comm_id": comm_id, "data": data, **more}, metadata={"version": "1.0.0"})
        request = self.book.expect(message["header"]["msg_id"])
        self.book.client.shell_channel.send(message)
        return request

    def set(self, comm_id: str, **state: object) -> str:
        """Change traits of a widget, as its half in the page does."""
        return self.tell(comm_id, {"method": "update", "state": state, "buffer_paths": []})

    async def told(self, request: str) -> Cell:
        """What came of something that was said, once the kernel is idle again."""
        async with asyncio.timeout(20):
            await self.book._idle[request].wait()
        return self.book.cells[request]

    async def heard(self, is_it: Callable[[Message], bool]) -> Message:
        """The first message about a comm of which that holds."""
        async with asyncio.timeout(20):
            while True:
                for message in self.said:
                    if is_it(message):
                        return message
                await asyncio.sleep(0.02)

    async def states(self) -> tuple[Message, Message]:
        """What a page that is loaded anew is told of all widgets: the content, and the message."""
        control = "c" * 32
        await self.told(self.tell(control, {}, "comm_open", target_name="jupyter.widget.control"))
        cell = await self.told(self.tell(control, {"method": "request_states"}))
        (message,) = [m for m in cell.messages if m["msg_type"] == "comm_msg"]
        return message["content"]["data"], message


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def free(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """The Cellwright kernel, its sandbox without isolation."""
    async with _opened(provider, tmp_path_factory.mktemp("free"), "process") as book:
        assert (await book.run("%%py\nimport ipywidgets as w\nfrom IPython.display import display")).is_ok
        yield Page(book)


def _opened(provider: FakeProvider, folder: Path, isolation: str, module: str = "cellwright_kernel") -> Any:
    base, interrupt = provider.base_url, "message" if module == "cellwright_kernel" else "signal"
    more = {"OPENAI_API_BASE": base, "OPENAI_BASE_URL": base, "CELLWRIGHT_ISOLATION": isolation}
    return opened(module, folder, interrupt=interrupt, **more)  # type: ignore[arg-type]


async def _slider(page: Page, name: str, code: str = "") -> str:
    """Make a slider in the sandbox and show it; its id."""
    before = len(page.opened("IntSliderModel"))
    cell = await page.book.run(f"%%py\n{name} = w.IntSlider(value=3)\n{code}\ndisplay({name})")
    assert cell.is_ok, cell.reply
    return str(page.opened("IntSliderModel")[before]["content"]["comm_id"])


async def test_e7_a_sandboxs_widget_is_shown_under_its_own_id(free: Page) -> None:
    comm_id = await _slider(free, "one")
    cell = list(free.book.cells.values())[-1]
    (shown,) = cell.of("display_data")
    assert shown["data"][WIDGET]["model_id"] == comm_id
    assert shown["data"]["text/plain"] == "IntSlider(value=3)"
    (opening,) = [m for m in free.opened("IntSliderModel") if m["content"]["comm_id"] == comm_id]
    assert opening["content"]["data"]["state"]["value"] == 3
    assert opening["content"]["target_name"] == "jupyter.widget"
    assert opening["metadata"]["version"].startswith("2.")
    assert opening in cell.messages, "it belongs to the cell that made it"
    kinds = [m["msg_type"] for m in cell.messages]
    assert kinds.index("comm_open") < kinds.index("display_data")
    assert (await free.book.run("%%py\none.model_id")).result == repr(comm_id)
    assert comm_id in (await free.book.ask(free.book.client.comm_info()))["comms"]


async def test_e7_what_the_page_sets_reaches_the_sandbox_and_an_effect_comes_back(free: Page) -> None:
    code = "label = w.Label()\ntwo.observe(lambda c: setattr(label, 'value', f'{c.new} squared {c.new ** 2}'), 'value')"
    comm_id = await _slider(free, "two", code)
    request = free.set(comm_id, value=9)
    cell = await free.told(request)
    updates = [m["content"]["data"] for m in cell.messages if m["msg_type"] == "comm_msg"]
    assert {"value": "9 squared 81"} in [data["state"] for data in updates]
    statuses = [m["content"]["execution_state"] for m in cell.messages if m["msg_type"] == "status"]
    assert (statuses[0], statuses[-1]) == ("busy", "idle")
    assert cell.messages[-1]["msg_type"] == "status", "the page may send again when all is said"
    assert (await free.book.run("%%py\ntwo.value")).result == "9"


async def test_e7_a_widget_hears_while_a_cell_awaits_and_after_one_that_blocks(free: Page) -> None:
    comm_id = await _slider(free, "three")
    awaits = "%%py\nimport asyncio\nprint('on', flush=True)\nwhile three.value == 3: await asyncio.sleep(0.01)\n'heard'"
    request = free.book.send(awaits)
    await free.book.heard(request, "stream")
    await free.told(free.set(comm_id, value=4))
    assert (await free.book.done(request)).result == "'heard'"
    request = free.book.send("%%py\nprint('on', flush=True)\nimport time; time.sleep(1)\nthree.value")
    await free.book.heard(request, "stream")
    said = free.set(comm_id, value=5)
    assert (await free.book.done(request)).result == "4"
    await free.told(said)
    assert (await free.book.run("%%py\nthree.value")).result == "5"


async def test_e7_an_output_widget_takes_what_is_printed_in_it(free: Page) -> None:
    code = "out = w.Output()\ndisplay(out)\nprint('before')\nwith out:\n    print('in it')\n    1 / 0\nprint('after')"
    request = free.book.send(f"%%py\n{code}")
    cell = await free.book.done(request)
    assert cell.is_ok, cell.reply
    comm_id = cell.of("display_data")[0]["data"][WIDGET]["model_id"]
    assert [text for text, into in _texts(cell, comm_id, request) if into] == ["in it\n", "ZeroDivisionError"]
    assert [text for text, into in _texts(cell, comm_id, request) if not into] == ["before\n", "after\n"]


def _texts(cell: Cell, comm_id: str, request: str) -> list[tuple[str, bool]]:
    """Each text, and whether the page puts it into an Output widget, as JupyterLab's `OutputModel` does."""
    found, into = [], False
    for message in cell.messages:
        content = message["content"]
        if message["msg_type"] == "comm_msg" and content["comm_id"] == comm_id:
            state = content["data"].get("state", {})
            into = state["msg_id"] == request if "msg_id" in state else into
        elif message["msg_type"] in ("stream", "error"):
            assert message["parent_header"]["msg_id"] == request
            found.append((content.get("text") or content["ename"], into))
    return found


async def test_e7_an_output_widget_takes_what_a_button_prints(free: Page) -> None:
    code = "out = w.Output()\nbutton = w.Button()\n@button.on_click\ndef clicked(_):\n    with out: print('clicked')"
    cell = await free.book.run(f"%%py\n{code}\ndisplay(button, out)")
    button, out = (shown["data"][WIDGET]["model_id"] for shown in cell.of("display_data"))
    request = free.tell(button, {"method": "custom", "content": {"event": "click"}})
    assert _texts(await free.told(request), out, request) == [("clicked\n", True)]


async def test_e7_bytes_cross_both_ways(free: Page) -> None:
    cell = await free.book.run("%%py\nimage = w.Image(value=b'\\x00\\xff' * 10)\ndisplay(image)")
    assert cell.is_ok, cell.reply
    (opening,) = [m for m in cell.messages if m["buffers"]]
    assert opening["content"]["data"]["buffer_paths"] == [["value"]]
    assert bytes(opening["buffers"][0]) == b"\x00\xff" * 10
    session = free.book.client.session
    data = {"method": "update", "state": {}, "buffer_paths": [["value"]]}
    message = session.msg("comm_msg", {"comm_id": opening["content"]["comm_id"], "data": data})
    request = free.book.expect(message["header"]["msg_id"])
    session.send(free.book.client.shell_channel.socket, message, buffers=[b"\x01\x02"])
    await free.told(request)
    assert (await free.book.run("%%py\nbytes(image.value)")).result == r"b'\x01\x02'"


async def test_e7_a_page_that_is_loaded_anew_finds_the_sandboxs_widgets_and_the_kernels_own(free: Page) -> None:
    task = await free.book.run("py: final_answer('shown')")
    view = task.of("display_data")[0]["data"][WIDGET]["model_id"]
    comm_id = await _slider(free, "four")
    await free.told(free.set(comm_id, value=8))
    await free.book.run("%%py\nfour.max = 50\npicture = w.Image(value=b'abc')")
    picture = free.opened("ImageModel")[-1]["content"]["comm_id"]
    # Also while the sandbox is busy: the page waits four seconds and no longer.
    request = free.book.send("%%py\nprint('on', flush=True)\nimport time; time.sleep(3)")
    await free.book.heard(request, "stream")
    data, message = await free.states()
    assert {view, comm_id, picture} <= set(data["states"])
    assert data["states"][comm_id]["model_name"] == "IntSliderModel"
    assert (data["states"][comm_id]["state"]["value"], data["states"][comm_id]["state"]["max"]) == (8, 50)
    at = data["buffer_paths"].index([picture, "state", "value"])
    assert bytes(message["buffers"][at]) == b"abc"
    assert (await free.book.done(request)).is_ok


async def test_e7_a_step_of_the_agent_shows_its_widget_below_the_view(free: Page) -> None:
    code = "import ipywidgets as w\nfrom IPython.display import display\ns = w.IntSlider(value=6)\ndisplay(s)\n"
    code += "out = w.Output()\ndisplay(out)\nwith out: print('caught')\nprint('printed')\nfinal_answer(s.value)"
    cell = await free.book.run(f"Slide.\npy: {code}")
    assert cell.is_ok, cell.reply
    view, slider, out = cell.of("display_data")
    assert "text/html" in view["data"]
    assert slider["data"]["text/plain"] == "IntSlider(value=6)"
    assert cell.text == "caught\n", "what goes into a widget is told to the page; the rest stands in the view"
    assert out["data"][WIDGET]
    (twin,) = cell.of("update_display_data")
    assert WIDGET not in twin["data"]
    for text in ("IntSlider(value=6)", "caught", "printed"):
        assert text in twin["data"]["text/html"]
    await free.told(free.set(slider["data"][WIDGET]["model_id"], value=7))
    assert (await free.book.run("%%py\ns.value")).result == "7"


async def test_e7_emptying_an_output_widget_leaves_what_else_a_step_has_shown(free: Page) -> None:
    code = (
        "print('kept')\nout = w.Output()\nwith out: print('one')\nout.clear_output(wait=True)\nwith out: print('two')"
    )
    cell = await free.book.run(f"py: {code}")
    kinds = [m["msg_type"] for m in cell.messages if m["msg_type"] in ("stream", "clear_output")]
    assert kinds == ["stream", "clear_output", "stream"]
    text = cell.of("update_display_data")[-1]["data"]["text/plain"]
    assert "\n  kept\n" in text and "\n  two\n" in text
    request = free.book.send(f"%%py\n{code}")
    cell = await free.book.done(request)
    kinds = [m["msg_type"] for m in cell.messages if m["msg_type"] in ("stream", "clear_output")]
    assert kinds == ["stream", "stream", "clear_output", "stream"]


async def test_e7_a_widget_can_be_the_answer(free: Page) -> None:
    cell = await free.book.run("py: import ipywidgets as w\nfinal_answer(w.IntSlider(value=2))")
    assert cell.result == "IntSlider(value=2)"
    assert [WIDGET in shown["data"] for shown in cell.of("display_data")] == [True, True]


@pytest.mark.parametrize("said", ["comm_msg", "comm_close", "comm_open"])
async def test_e7_the_sandbox_cannot_speak_for_the_kernels_own_widgets(free: Page, said: str) -> None:
    cell = await free.book.run("py: final_answer('shown')")
    view = cell.of("display_data")[0]["data"][WIDGET]["model_id"]
    forged = f"%%py\nk = get_ipython().kernel\nk.session.send(k.iopub_socket, {said!r}, {{'comm_id': {view!r}, "
    forged += "'target_name': 'jupyter.widget', 'data': {'method': 'update', 'state': {}}}, parent=k.get_parent())"
    forged += f"\nfrom IPython.display import publish_display_data as p\np({{'text/plain': 'v', {WIDGET!r}: "
    cell = await free.book.run(forged + f"{{'model_id': {view!r}}}}})")
    assert cell.is_ok, cell.reply
    assert not [m for m in cell.messages if m["msg_type"] in COMMS]
    assert [shown["data"] for shown in cell.of("display_data")] == [{"text/plain": "v"}]


async def test_e7_closing_a_widget_on_either_side_closes_the_other(free: Page) -> None:
    comm_id = await _slider(free, "five")
    cell = await free.book.run("%%py\nfive.close()")
    assert comm_id in [m["comm_id"] for m in cell.of("comm_close")]
    assert comm_id not in (await free.book.ask(free.book.client.comm_info()))["comms"]
    comm_id = await _slider(free, "six")
    await free.told(free.tell(comm_id, {}, "comm_close"))
    assert (await free.book.run("%%py\nsix.comm is None or six.comm._closed")).result == "True"
    assert comm_id not in (await free.book.ask(free.book.client.comm_info()))["comms"]


async def test_e7_a_message_that_is_too_large_is_said_and_costs_nothing_else(free: Page) -> None:
    cell = await free.book.run("%%py\nbig = w.Image(value=b'x' * (9 << 20))\nprint('goes on')")
    assert cell.is_ok
    assert "was not sent" in cell.text
    assert "goes on" in cell.text
    comm_id = await _slider(free, "seven")
    assert comm_id


async def test_e7_a_cell_waits_for_what_a_widget_calls_and_stopping_it_stops_both(free: Page) -> None:
    code = "import time\neight.observe(lambda c: time.sleep(16 if c.new == 2 else 60), 'value')"
    comm_id = await _slider(free, "eight", code)
    free.set(comm_id, value=2)
    cell = await free.book.run("%%py\neight.value")  # that takes longer than a sandbox has to answer
    assert cell.result == "2", cell
    free.set(comm_id, value=1)
    await asyncio.sleep(0.3)
    request = free.book.send("%%py\n'after'")
    await asyncio.sleep(0.3)
    await free.book.manager.interrupt_kernel()
    assert (await free.book.done(request)).reply["ename"] == "KeyboardInterrupt"
    assert (await free.book.run("%%py\neight.value")).result == "1"
    # Where no cell runs, Interrupt is for the widget.
    said = free.set(comm_id, value=3)
    await asyncio.sleep(0.3)
    await free.book.manager.interrupt_kernel()
    await free.told(said)
    assert (await free.book.run("%%py\neight.value")).result == "3"


async def test_e7_widgets_end_with_the_sandbox(provider: FakeProvider, tmp_path: Path) -> None:
    async with _opened(provider, tmp_path, "process") as book:
        page = Page(book)
        await book.run("%%py\nimport ipywidgets as w\nfrom IPython.display import display")
        comm_id = await _slider(page, "one")
        cell = await book.run(
            "%%py\nout = w.Output()\ndisplay(out)\nwith out: import os, time; time.sleep(0.5); os._exit(3)"
        )
        assert not cell.is_ok
        closed = await page.heard(lambda m: m["msg_type"] == "comm_close" and m["content"]["comm_id"] == comm_id)
        assert closed
        out = page.opened("OutputModel")[0]["content"]["comm_id"]
        said = [m["content"]["data"].get("state", {}) for m in page.said if m["content"]["comm_id"] == out]
        assert [state["msg_id"] for state in said if "msg_id" in state][-1] == "", "the page takes outputs no longer"
        assert comm_id not in (await book.ask(book.client.comm_info()))["comms"]
        assert (await book.run("%%py\nimport ipywidgets as w\nw.IntSlider().value")).result == "0"


async def test_e7_with_isolation_nothing_of_a_widget_leaves(provider: FakeProvider, tmp_path: Path) -> None:
    async with _opened(provider, tmp_path, "auto") as book:
        code = "import ipywidgets as w\nfrom IPython.display import display\ns = w.IntSlider(value=4)\ndisplay(s)\n"
        cell = await book.run(f"%%py\n{code}out = w.Output()\nwith out: print('said')\ns.value = 5")
        assert cell.is_ok, cell.reply
        assert [shown["data"] for shown in cell.of("display_data")] == [{"text/plain": "IntSlider(value=4)"}]
        assert cell.text == "said\n"
        task = await book.run(f"py: {code}final_answer(s)")
        assert task.result == "IntSlider(value=4)"
        view, *more = task.of("display_data")
        assert more == []
        opened_ids = {m["content"]["comm_id"] for m in Page(book).said}
        assert view["data"][WIDGET]["model_id"] in opened_ids
        inside = (await book.run("%%py\n' '.join(i for i in __import__('comm').get_comm_manager().comms)")).result
        assert len(inside) > 60
        assert not any(comm_id in inside for comm_id in opened_ids)
        # What the person changes holds for the next sandbox, and no longer than they want.
        for level, is_shown in (("process", True), ("auto", False)):
            await book.run(f"%agent sandbox --isolation {level}")
            await book.run("%agent reset")
            (shown,) = (await book.run(f"%%py\n{code}")).of("display_data")
            assert (WIDGET in shown["data"]) is is_shown


async def test_e7_a_widget_works_in_a_python_notebook(provider: FakeProvider, tmp_path: Path) -> None:
    async with _opened(provider, tmp_path, "process", "ipykernel_launcher") as book:
        page = Page(book)
        await book.run("%load_ext cellwright")
        code = "import ipywidgets as w\nfrom IPython.display import display\ns = w.IntSlider()\nlabel = w.Label()\n"
        code += "s.observe(lambda c: setattr(label, 'value', 'at ' + str(c.new)), 'value')\ndisplay(s)"
        cell = await book.run(f"%%agent\npy: {code}\nfinal_answer('made')")
        assert cell.is_ok, cell.reply
        comm_id = cell.of("display_data")[1]["data"][WIDGET]["model_id"]
        said = await page.told(page.set(comm_id, value=3))
        states = [m["content"]["data"]["state"] for m in said.messages if m["msg_type"] == "comm_msg"]
        assert {"value": "at 3"} in states
        own = "import ipywidgets\nmine = ipywidgets.IntSlider()\nmine.model_id"
        mine = (await book.run(own)).result.strip("'")
        await page.told(page.set(mine, value=2))
        assert (await book.run("mine.value")).result == "2"
        data, _ = await page.states()
        assert {mine, comm_id} <= set(data["states"])
        # While a task runs, the page is told when it may send again, and the sandbox hears.
        wait = "import asyncio\nwhile s.value == 3: await asyncio.sleep(0.01)\nfinal_answer(s.value)"
        request = book.send(f"%%agent\npy: {wait}")
        await book.heard(request, "display_data")
        await asyncio.sleep(1)
        await page.told(page.set(comm_id, value=11))
        assert (await book.done(request)).result == "11"
