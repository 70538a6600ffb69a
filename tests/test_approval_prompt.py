"""The question where only lines can be typed: by a kernel's `input_request`, in a terminal, and where nobody is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cellwright.approval import Question, Said
from cellwright.approval_prompt import ask_by_line, question_text
from cellwright.risks import Risk
from fake_provider import FakeProvider
from notebook import MODEL, Cell, Notebook, opened

CELLWRIGHT = str(Path(sys.executable).with_name("cellwright"))
TOOL = "def f() -> int:\n    'One.'\n    return 1"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def book(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    folder, base = tmp_path_factory.mktemp("book"), provider.base_url
    async with opened(
        "cellwright_kernel",
        folder,
        interrupt="message",
        OPENAI_API_BASE=base,
        OPENAI_BASE_URL=base,
        CELLWRIGHT_APPROVE_MIN="ask-risky",
    ) as notebook:
        yield notebook


async def typing(book: Notebook, task: str, *lines: str) -> tuple[Cell, list[str]]:
    """Run a cell, and type these lines when asked; the cell, and the prompts."""
    request, prompts = book.send(task, allow_stdin=True), []
    for line in lines:
        prompts.append((await book.client.get_stdin_msg(timeout=20))["content"]["prompt"])
        book.client.input(line)
    return await book.done(request), prompts


async def test_e5_yes_no_and_edit_by_input_request(book: Notebook) -> None:
    assert (await book.run("%agent approve ask")).is_ok
    cell, prompts = await typing(book, "py: final_answer(6 * 7)", "what", "y")
    assert cell.result == "42"
    assert prompts == ["Run it? [y]es, [n]o, [e]dit, [a]ll that follow, all [l]ike this: "] * 2
    assert "The agent wants to run this in step 1:\n  | final_answer(6 * 7)" in cell.text
    cell, _ = await typing(book, "py: final_answer(6 * 7)", "e", "x = 43", "final_answer(x)", ".")
    assert cell.result == "43"
    cell, prompts = await typing(book, "py: open('a', 'w')", "n", "never write", "y")
    assert cell.result.strip("'") == "done"
    assert prompts[1] == "A word to the model why (or Enter): "
    twin = cell.of("update_display_data")[-1]["data"]["text/plain"]
    assert "never write" in twin
    assert not (book.folder / "a").exists()


async def test_e5_only_what_is_risky_is_asked(book: Notebook) -> None:
    assert (await book.run("%agent approve ask-risky")).is_ok
    cell, _ = await typing(book, "py: final_answer(1)")
    assert cell.result == "1"
    cell, prompts = await typing(book, "py: import subprocess; final_answer(2)", "y")
    assert cell.result == "2"
    assert prompts == ["Run it? [y]es, [n]o, [e]dit: "], "nothing is allowed beneath an administrator's least"
    assert "(other programs: subprocess)" in cell.text


async def test_e5_the_least_is_not_lifted_from_the_notebook(book: Notebook) -> None:
    said = "an administrator wants at least ask-risky (CELLWRIGHT_APPROVE_MIN); it can't be lifted."
    for line in ("%agent approve auto", "%%agent --approve auto\npy: final_answer(1)"):
        (error,) = (await book.run(line)).of("error")
        assert error["ename"] == "UsageError"
        assert said in error["evalue"]
        assert len(error["traceback"]) == 1
    await book.run(
        "%%tool\nimport os\nos.environ.pop('CELLWRIGHT_APPROVE_MIN', None)\ndef f() -> int:\n    'One.'\n    return 1"
    )
    (error,) = (await book.run("%agent approve auto")).of("error")
    assert "at least ask-risky" in error["evalue"], "the environment was changed after the session began"
    assert "An administrator wants at least ask-risky." in (await book.run("%agent approve")).result


async def test_e5_where_nobody_is_the_mode_decides(book: Notebook) -> None:
    cell = await book.run("py: import subprocess; final_answer(1)")
    assert cell.result.strip("'") == "done", "it was denied, and the model went on"
    twin = cell.of("update_display_data")[-1]["data"]["text/plain"]
    assert "needs a person's approval (other programs: subprocess). Nobody can be asked here." in twin


async def test_e5_a_stop_at_the_prompt_ends_it(book: Notebook) -> None:
    request = book.send("py: import subprocess; final_answer(1)", allow_stdin=True)
    await book.client.get_stdin_msg(timeout=20)
    begun = time.monotonic()
    await book.manager.interrupt_kernel()
    cell = await book.done(request)
    assert time.monotonic() - begun < 1.0
    assert cell.reply["ename"] == "KeyboardInterrupt"


async def test_e5_what_code_asks_is_said_to_be_the_codes(book: Notebook) -> None:
    cell, prompts = await typing(book, "py: final_answer(input('Run it? '))", "y")
    assert prompts == ["The agent's code asks: Run it? "]
    assert cell.is_ok


# ---- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["y"], Said("run")),
        ([" YES "], Said("run")),
        (["n", ""], Said("deny")),
        (["n use x"], Said("deny", "use x")),
        (["", "?", "a"], Said("all")),
        (["l"], Said("alike")),
        (["e", "a", "  b", "."], Said("edit", "a\n  b")),
        (["e", "a\n  b", "."], Said("edit", "a\n  b")),
    ],
)
async def test_e5_what_a_line_means(lines: list[str], said: Said) -> None:
    typed = iter(lines)

    async def line(prompt: str) -> str:
        return next(typed)

    assert await ask_by_line(Question("r", 1, "x", [Risk("network", "socket")]), line, print) == said


async def test_e5_code_cannot_draw_over_the_question() -> None:
    text = question_text(Question("r", 1, "x = 1\x1b[2K\rharmless()\x9b", []))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\x9b" not in text


# ---- terminal -------------------------------------------------------------------------------------------------------


def environment(provider: FakeProvider) -> dict[str, str]:
    base = provider.base_url
    return {**os.environ, **MODEL, "OPENAI_API_BASE": base, "OPENAI_BASE_URL": base, "TERM": "xterm", "COLUMNS": "120"}


async def in_terminal(provider: FakeProvider, folder: Path, mode: str, answer: str) -> tuple[int | None, str]:
    """`cellwright run` in a terminal, with `answer` typed when it asks, or a SIGINT; exit status, what it wrote."""
    ours, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        CELLWRIGHT, "run", "py: import subprocess; final_answer(6 * 7)", "--approve", mode,
        cwd=folder, stdin=its, stdout=its, stderr=its, start_new_session=True, env=environment(provider),
    )  # fmt: skip
    os.close(its)
    os.set_blocking(ours, False)
    ended = asyncio.create_task(process.wait())
    written, has_answered = "", False
    async with asyncio.timeout(60):
        while not ended.done():
            await asyncio.sleep(0.05)
            with contextlib.suppress(OSError):  # nothing is there, or the other side is closed
                written += os.read(ours, 1 << 16).decode(errors="replace")
            if "Run it?" in written and not has_answered:
                has_answered = True
                if answer:
                    os.write(ours, answer.encode())
                else:
                    process.send_signal(signal.SIGINT)
    os.close(ours)
    return process.returncode, written


async def test_e5_in_a_terminal(provider: FakeProvider, tmp_path: Path) -> None:
    code, written = await in_terminal(provider, tmp_path, "ask-risky", "y\n")
    assert code == 0, written
    assert "other programs: subprocess" in written
    assert "42" in written.partition("Run it?")[2]


async def test_e5_ctrl_c_at_the_question(provider: FakeProvider, tmp_path: Path) -> None:
    code, written = await in_terminal(provider, tmp_path, "ask", "")
    assert code == 130, written


async def test_e5_a_command_without_a_terminal_denies_what_must_be_asked(
    provider: FakeProvider, tmp_path: Path
) -> None:
    task = ("run", "py: import subprocess; final_answer(42)", "--approve", "ask-risky", "--json")
    process = await asyncio.create_subprocess_exec(
        CELLWRIGHT, *task, cwd=tmp_path, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        env=environment(provider),
    )  # fmt: skip
    said, _ = await process.communicate()
    assert json.loads(said)["answer"] == "done", "it was denied, and the model went on"
