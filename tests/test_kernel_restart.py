"""The Cellwright kernel is restarted, or dies: all is fresh, and what was cut off is offered, once."""

from __future__ import annotations

import asyncio
import subprocess
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from fake_provider import FakeProvider
from notebook import Notebook, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


def kernel_in(folder: Path, provider: FakeProvider) -> AbstractAsyncContextManager[Notebook]:
    """A notebook of that folder, with a journal of its own."""
    places = {"OPENAI_API_BASE": provider.base_url, "OPENAI_BASE_URL": provider.base_url}
    journal = str(folder / "journal.sqlite")
    return opened("cellwright_kernel", folder, interrupt="message", CELLWRIGHT_JOURNAL=journal, **places)


async def restarted(book: Notebook) -> None:
    """Restart the kernel as a front end does."""
    await book.end()
    await book.manager.restart_kernel(stderr=subprocess.DEVNULL)  # the file of the first start is closed
    await book.client.wait_for_ready(timeout=30)
    book.begin()


async def test_e1_after_a_restart_all_is_fresh_and_what_was_cut_off_is_offered(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with kernel_in(tmp_path, provider) as book:
        assert (await book.run("py: final_answer(0)")).text == "", "there is nothing to go on with"
        request = book.send("Wait long.\npy: before = 1\nimport time; time.sleep(30)")
        await book.heard(request, "display_data")
        await asyncio.sleep(1.0)
        await restarted(book)
        assert (await book.run("%%py\nbefore")).reply["ename"] == "NameError"
        asked = len(provider.requests)
        first = await book.run("py: final_answer(2)")
        assert first.result == "2"
        assert "Wait long." not in str(provider.requests[asked]["messages"])
        (line,) = first.text.splitlines()
        assert "The last task here was stopped (Wait long." in line
        resume = line.partition("`")[2].partition("`")[0]
        assert resume.startswith("%agent resume ")
        assert (await book.run("py: final_answer(3)")).text == "", "it is offered once"
        await restarted(book)
        assert (await book.run("py: final_answer(4)")).text == "", "another task was done since"
        gone_on = await book.run(resume)
        assert gone_on.is_ok
        assert "Step 1 of 'Wait long.' had not run to its end" in gone_on.result  # the model repeats what it is told
        assert (await book.run("%%py\nbefore")).reply["ename"] == "NameError", (
            "a step that was stopped is not run again"
        )


async def test_e1_a_task_whose_kernel_died_is_offered(provider: FakeProvider, tmp_path: Path) -> None:
    async with kernel_in(tmp_path, provider) as book:
        request = book.send("Wait long.\npy: import time; time.sleep(30)")
        await book.heard(request, "display_data")
        await asyncio.sleep(1.0)
        await book.manager.signal_kernel(9)
        await asyncio.sleep(0.5)
    async with kernel_in(tmp_path, provider) as book:
        begun = time.monotonic()
        first = await book.run("py: final_answer(2)")
        assert "The last task here was cut off (Wait long." in first.text
        assert time.monotonic() - begun < 20
