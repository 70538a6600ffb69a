"""`%agent undo`, `branch`, `edit`, `resume` in a kernel: what a person types, and what they see."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from fake_provider import FakeProvider, echo
from notebook import Notebook, opened

modular = pytest.mark.asyncio(loop_scope="module")


SECONDS = 120.0
"""Long enough for a busy machine; nothing waits so long that goes well."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def book(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    folder = tmp_path_factory.mktemp("book")
    async with FakeProvider(reply=echo) as provider:
        base = provider.base_url
        places = {"OPENAI_API_BASE": base, "OPENAI_BASE_URL": base, "CELLWRIGHT_JOURNAL": str(folder / "j.sqlite")}
        async with opened("cellwright_kernel", folder, interrupt="message", **places) as notebook:
            yield notebook


@modular
async def test_e8_undo_branch_and_edit(book: Notebook) -> None:
    assert (await book.run("%agent undo")).reply["status"] == "error"
    await book.run("py: a = 1\nfinal_answer(a)")
    await book.run("py: a += 10\nfinal_answer(a)")
    undone = await book.run("%agent undo")
    assert "Taken back" in undone.result and "1 step " in undone.result
    assert (await book.run("%%py\na")).result == "1"
    assert "only" in (await book.run("%agent undo 9")).reply["evalue"]
    asked = await book.run("%agent edit 1")
    (payload,) = asked.reply["payload"]
    assert payload["source"] == "set_next_input" and payload["text"].startswith("%%agent --step 1\na = 1")
    edited = await book.run(payload["text"].replace("a = 1", "a = 5"))
    assert edited.result == "5" and (await book.run("%%py\na")).result == "5"


async def test_f4_a_killed_kernel_is_resumed_in_a_new_one(tmp_path: Path) -> None:
    async with FakeProvider(reply=echo) as provider:
        base = provider.base_url
        places = {"OPENAI_API_BASE": base, "OPENAI_BASE_URL": base, "CELLWRIGHT_JOURNAL": str(tmp_path / "j.sqlite")}
        async with opened("cellwright_kernel", tmp_path, interrupt="message", **places) as first:
            await first.run("py: a = 41\nfinal_answer(a)")
            first.send("py: import os, time\na += 1\nopen('under_way', 'w').close()\ntime.sleep(600)")
            await _until(lambda: any(tmp_path.rglob("under_way")))
            pid = first.manager.provisioner.process.pid  # type: ignore[union-attr]
            children = psutil.Process(pid).children(recursive=True)
            os.kill(pid, signal.SIGKILL)
            _gone, alive = await asyncio.to_thread(psutil.wait_procs, children, 30)
            assert not alive, "the sandbox ends with the kernel"
        async with opened("cellwright_kernel", tmp_path, interrupt="message", **places) as second:
            resumed = await second.done(second.send("%agent resume"), SECONDS)
            assert resumed.is_ok and resumed.result == "'done'"
            assert "has its answer, and its variables are there" in (await second.run("%agent resume")).reply["evalue"]
            assert (await second.run("%%py\na")).result == "41"
            assert len(provider.requests) == 3, "only the step after the one that was cut off asks the model"
            assert "not repeated by itself" in str(provider.requests[-1])
        async with opened("cellwright_kernel", tmp_path, interrupt="message", **places) as third:
            taken = await third.run("%agent resume")
            assert "What it left is back" in taken.result, taken.reply
            assert (await third.run("%%py\na")).result == "41"
            await third.run("py: a += 1\nfinal_answer(a)")
            assert "'done'" in str(provider.requests[-1]["messages"]), "the model remembers, too"


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not true():
            await asyncio.sleep(0.05)
