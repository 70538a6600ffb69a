"""`%agent runs ...`, `show`, `verify`, `export`, `recall` in a kernel: what a person types, and what they see."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cellwright.journal import Journal
from cellwright_extension.tables import Link, Table
from fake_provider import FakeProvider, echo
from journals import store, told
from notebook import Notebook, opened

modular = pytest.mark.asyncio(loop_scope="module")
DAY = 86400.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def book(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    """A notebook of the Cellwright kernel; its journal holds two runs of earlier days."""
    folder = tmp_path_factory.mktemp("book")
    now = time.time()
    async with Journal(folder / "j.sqlite") as journal:
        old = told("aaa1", "Count <b>the</b> penguins.", time=now - 100 * DAY, cost=0.5, code="n = 1\nprint(n)")
        await store(journal, "aaa1", old)
        new = told("bbb2", "Plot the rain.", time=now - 3 * DAY, end="failed", code="n = 2\nprint(n)")
        await store(journal, "bbb2", new)
    async with FakeProvider(reply=echo) as provider:
        base = provider.base_url
        places = {"OPENAI_API_BASE": base, "OPENAI_BASE_URL": base, "CELLWRIGHT_JOURNAL": str(folder / "j.sqlite")}
        places["JUPYTER_DATA_DIR"] = str(folder / "data")
        async with opened("cellwright_kernel", folder, interrupt="message", **places) as notebook:
            yield notebook


async def shown(book: Notebook, line: str) -> tuple[str, str]:
    """What a command shows: text, and HTML."""
    cell = await book.run(line)
    assert cell.is_ok, cell.reply
    (result,) = cell.of("execute_result")
    return result["data"]["text/plain"], result["data"]["text/html"]


@modular
async def test_f5_runs_are_listed_and_filtered(book: Notebook) -> None:
    text, page = await shown(book, "%agent runs")
    assert [line.split()[0] for line in text.splitlines()] == ["run", "bbb2", "aaa1"]
    assert "&lt;b&gt;the&lt;/b&gt;" in page and 'title="%agent show aaa1"' in page
    text, _ = await shown(book, "%agent runs --status failed --since 7d")
    assert [line.split()[0] for line in text.splitlines()] == ["run", "bbb2"]
    assert "No run is like that." in (await shown(book, "%agent runs --model none"))[0]


@modular
async def test_f5_runs_are_searched_added_up_and_compared(book: Notebook) -> None:
    text, _ = await shown(book, "%agent runs search penguins")
    assert re.search(r"aaa1 .*task +Count <b>the</b> penguins\.", text)
    assert "No run holds" in (await shown(book, "%agent runs search penguins rain"))[0]
    assert "$0.5000" in (await shown(book, "%agent runs stats"))[0]
    text, page = await shown(book, "%agent runs diff aaa1 bbb2")
    assert "different tasks" in text and "-n = 1\n+n = 2" in text
    assert "<pre>--- aaa1\n+++ bbb2" in page


@modular
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%agent runs serch x", "'search'"),
        ("%agent runs search", "WORDS"),
        ("%agent runs --status sucess", "'success'"),
        ("%agent runs prune", "--older-than"),
        ("%agent runs prune --older-than soon", "'soon'"),
        ("%agent runs diff aaa1", "B"),
        ("%agent runs diff aaa1 zzz9", "'zzz9'"),
        ("%agent show zzz9", "'zzz9'"),
        ("%agent verify nothing.ipynb", "no file nothing.ipynb"),
        ("%agent export no/such/a.ipynb --run aaa1", "no folder no/such"),
        ("%agent export a.txt --run aaa1", ".ipynb"),
        ("%agent export a.html --sign --run aaa1", "--sign"),
        ("%agent recall maybe", "maybe"),
    ],
)
async def test_f5_a_mistake_is_one_line(book: Notebook, line: str, said: str) -> None:
    (error,) = (await book.run(line)).of("error")
    assert said in error["evalue"] and "\n" not in error["evalue"]


@modular
async def test_f5_every_command_of_two_words_has_help(book: Notebook) -> None:
    listed = (await book.run("%agent help")).result
    for word in ("runs search", "runs stats", "runs diff", "runs prune"):
        assert f"%agent {word}" in listed
        assert f"Usage: %agent {word}" in (await book.run(f"%agent help {word}")).result
    matches = (await book.ask(book.client.complete("%agent r")))["matches"]
    assert matches == ["recall", "reset", "resume", "runs"]


@modular
async def test_f5_a_run_is_brought_back(book: Notebook) -> None:
    brought = await book.run("%agent show aaa")
    twin = brought.of("update_display_data")[-1]["data"]  # no page shows the view
    assert "penguins" in twin["text/plain"] and "print" in twin["text/html"]
    assert not brought.of("execute_result")
    await book.run("py: final_answer('later')")
    brought = await book.run("%agent show")
    assert "later" in brought.of("update_display_data")[-1]["data"]["text/plain"]


@modular
async def test_f3_a_notebook_is_exported_and_verified(book: Notebook) -> None:
    await book.run("py: print('seen')\nfinal_answer(5)")
    text, page = await shown(book, "%agent export audit.ipynb --sign")
    assert text.endswith("audit.ipynb") and 'href="audit.ipynb"' in page
    text, page = await shown(book, "%agent verify audit.ipynb --stamp stamped.ipynb")
    assert "As it was written" in text.splitlines()[0] and re.search(r"step 1 +same", text)
    assert "SHA256:" in text and 'href="stamped.ipynb"' in page
    made = json.loads((book.folder / "audit.ipynb").read_text())
    cell = next(cell for cell in made["cells"] if cell["cell_type"] == "code" and "'seen'" in "".join(cell["source"]))
    cell["source"] = "".join(cell["source"]).replace("seen", "sawn")
    (book.folder / "changed.ipynb").write_text(json.dumps(made))
    text, _ = await shown(book, "%agent verify changed.ipynb --no-run")
    assert text.startswith("Changed: ") and "code was changed" in text


@modular
async def test_f6_a_report_page_is_exported(book: Notebook) -> None:
    await book.run("py: final_answer(5)")
    _, page = await shown(book, "%agent export report.html --report")
    assert 'href="report.html"' in page
    assert "<!DOCTYPE html>" in (book.folder / "report.html").read_text()


@modular
async def test_f5_recall_is_off_until_it_is_switched_on(book: Notebook) -> None:
    asked = "py: final_answer([hit['task'] for hit in recall('yesterday')])"
    assert "recall on" in (await book.run("%agent recall")).result
    assert (await book.run(asked.replace("final_answer", "print"))).result == "'done'"
    await book.run("What did we do the day before yesterday?\npy: final_answer('swim')")
    by_flag = await book.run(f"%%agent --recall\n{asked}")
    assert "before yesterday" in by_flag.result
    assert "may search" in (await book.run("%agent recall on")).result
    assert "recall(query: str" in (await book.run("%agent tools")).result
    assert "before yesterday" in (await book.run(asked)).result
    assert "knows nothing" in (await book.run("%agent recall off")).result


@modular
async def test_f5_prune_says_which_before_it_removes_them(book: Notebook) -> None:
    text, _ = await shown(book, "%agent runs prune --older-than 30d")
    assert "aaa1" in text and "--yes" in text
    assert "Removed 1 run," in (await book.run("%agent runs prune --older-than 30d --yes")).result
    assert "aaa1 " not in (await book.run("%agent runs")).result
    assert "nothing is removed" in (await book.run("%agent runs prune --older-than 30d")).result


def test_a_link_opens_only_what_is_beneath_the_folder(tmp_path: Path) -> None:
    assert Link(Path("a b.ipynb"))._repr_html_() == '<a href="a%20b.ipynb" target="_blank">a b.ipynb</a>'
    assert Link(tmp_path / "x<y.ipynb")._repr_html_() == f"{tmp_path}/x&lt;y.ipynb"
    assert repr(Table(("file",), [(Link(Path("a")),)])) == "file\na"
