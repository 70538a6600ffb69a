"""`%agent WORD`: every command in a kernel, and every mistake in one line."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fake_provider import FakeProvider, echo
from notebook import Notebook, opened

modular = pytest.mark.asyncio(loop_scope="module")
WORDS = "export files help limits mcp model new recall reset runs sandbox show steps tools vars verify".split()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def book(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    folder = tmp_path_factory.mktemp("book")
    journal = str(folder / "journal.sqlite")
    async with FakeProvider(reply=echo) as provider:
        base = provider.base_url
        places = {"OPENAI_API_BASE": base, "OPENAI_BASE_URL": base, "CELLWRIGHT_JOURNAL": journal}
        async with opened("cellwright_kernel", folder, interrupt="message", **places) as notebook:
            yield notebook


@modular
async def test_before_the_first_task_every_list_says_that_it_is_empty(book: Notebook) -> None:
    for word, said in {"tools": "no tools", "vars": "no variables", "steps": "no run", "runs": "no runs"}.items():
        cell = await book.run(f"%agent {word}")
        assert said in cell.result, word
    assert "no run" in (await book.run("%agent export")).reply["evalue"]


@modular
@pytest.mark.parametrize("line", ["%agent", "%agent help"])
async def test_help_lists_every_command(book: Notebook, line: str) -> None:
    cell = await book.run(line)
    assert [word for word in WORDS if f"%agent {word}" not in cell.result] == []
    assert "<table" in cell.of("execute_result")[0]["data"]["text/html"]


@modular
@pytest.mark.parametrize("word", WORDS)
async def test_every_command_has_help(book: Notebook, word: str) -> None:
    assert f"%agent {word}" in (await book.run(f"%agent {word} --help")).result
    assert f"%agent {word}" in (await book.run(f"%agent help {word}")).result


@modular
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%agent modle", "model"),
        ("%agent stepz", "steps"),
        ("%agent runs --limt 3", "--limit"),
        ("%agent runs --limit 0", "--limit"),
        ("%agent runs --limit three", "--limit"),
        ("%agent limits --max-step 3", "--max-steps"),
        ("%agent limits --max-steps some", "--max-steps"),
        ("%agent new again", "again"),
        ("%agent export 'open", "quotation"),
        ("%agent export audit.txt --run nothing-such", "nothing-such"),
        ("%%agent --modle x\ntask", "--model"),
        ("%%agent --in df\ntask", "--in"),
        ("%%agent", "task is empty"),
    ],
)
async def test_a_mistake_is_one_line_and_names_the_right_word(book: Notebook, line: str, said: str) -> None:
    cell = await book.run(line)
    (error,) = cell.of("error")
    assert said in error["evalue"]
    assert "\n" not in error["evalue"]
    assert len(error["traceback"]) == 1
    assert not cell.of("display_data")


@modular
async def test_c6_the_model_is_named_and_changed(book: Notebook) -> None:
    assert "openai/x answers" in (await book.run("%agent model")).text
    assert "openai/y" in (await book.run("%agent model openai/y")).result
    assert "openai/y answers" in (await book.run("%agent model")).text
    assert "openai/x" in (await book.run("%agent model openai/x")).result


@modular
async def test_a10_limits_are_shown_and_changed(book: Notebook) -> None:
    assert "max-steps" in (await book.run("%agent limits")).result
    assert "1" in (await book.run("%agent limits --max-steps 1")).result
    cell = await book.run("py: print('one')")
    assert cell.reply["ename"] == "RunFailed"
    assert "no limit" in (await book.run("%agent limits --max-steps none")).result
    assert (await book.run("py: print('one')")).is_ok


@modular
async def test_what_was_done_can_be_looked_at(book: Notebook) -> None:
    await book.run("Keep it.\npy: kept = 11\nfinal_answer(kept)")
    assert "kept" in (await book.run("%agent vars")).result
    assert "Keep it." in (await book.run("%agent runs")).result
    steps = await book.run("%agent steps")
    assert "final_answer" in steps.of("execute_result")[0]["data"]["text/html"]


@modular
async def test_the_conversation_is_exported(book: Notebook) -> None:
    await book.run("py: final_answer(5)")
    cell = await book.run("%agent export audit.ipynb")
    assert cell.is_ok, cell.reply
    cells = json.loads((book.folder / "audit.ipynb").read_text())["cells"]
    assert any("final_answer(5)" in "".join(found["source"]) for found in cells)


@modular
async def test_new_keeps_the_variables_and_reset_clears_them(book: Notebook) -> None:
    await book.run("%%py\nstays = 1")
    assert (await book.run("%agent new")).is_ok
    assert (await book.run("%%py\nstays")).result == "1"
    assert (await book.run("%agent reset")).is_ok
    assert (await book.run("%%py\nstays")).reply["ename"] == "NameError"
    assert (await book.run("py: final_answer('on')")).result == "'on'"


@modular
async def test_the_sandbox_says_how_it_is_isolated(book: Notebook) -> None:
    await book.run("%agent reset")
    await book.run("%%py\n1")
    said = (await book.run("%agent sandbox")).result
    assert re.search(r"network +none", said)
    assert re.search(r"memory +2,048 MiB", said)
    assert re.search(r"running +(bwrap|landlock), Python 3", said)


@modular
async def test_how_it_is_isolated_is_changed_by_a_word_and_holds_for_the_next_sandbox(book: Notebook) -> None:
    await book.run("%%py\nstays = 1")
    changed = await book.run("%agent sandbox --memory 1GiB")
    assert "%agent reset" in changed.result
    refused = await book.run("py: final_answer(stays)")
    assert refused.reply["ename"] == "UsageError"
    assert (await book.run("%agent reset")).is_ok
    limit = "import resource; resource.getrlimit(resource.RLIMIT_DATA)[0] <= 1 << 30"
    assert (await book.run(f"%%py\n{limit}")).result == "True"
    wrong = await book.run("%agent sandbox --isolation bwarp")
    assert wrong.reply["ename"] == "UsageError"
    assert "did you mean 'bwrap'" in wrong.reply["evalue"]


@modular
async def test_a_file_that_a_task_names_is_in_the_workspace(book: Notebook) -> None:
    (book.folder / "named.csv").write_text("a,b\n1,2\n")
    (book.folder / "not named.txt").write_text("the person's own")
    cell = await book.run("Use named.csv.\npy: import os\nfinal_answer([open('named.csv').read(), os.listdir()])")
    assert "1,2" in cell.result
    assert "not named" not in cell.result
    assert "named.csv" in (await book.run("%agent files")).result
    assert "not named.txt" in (await book.run("%agent files 'not named.txt'")).result
    missing = await book.run("%agent files nowhere.csv")
    assert missing.reply["evalue"] == "There is no file nowhere.csv."
