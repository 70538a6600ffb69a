"""Completion: what `%agent`, `%%agent` and braces take, in both kernels, and where the cursor stands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cellwright_extension.completion import place
from fake_provider import FakeProvider
from notebook import Notebook, opened

PENGUIN = "🐧"
"""Two units of UTF-16, one character."""
modular = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The current folder, with files to name."""
    (tmp_path / "plots").mkdir()
    for name in ("plots/a.png", "b.png", "two words.png", ".hidden"):
        (tmp_path / name).touch()
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def completed(source: str, *, is_task: bool = False) -> dict[str, Any]:
    """What may stand at the `|` in `source`, each as the whole cell that it makes."""
    cursor = source.index("|")
    code = source.replace("|", "")
    found = place(code, cursor, is_task=is_task)
    assert found is not None
    return {choice: code[: found.start] + choice + code[cursor:] for choice in found.choices()}


@pytest.mark.parametrize(
    ("source", "some", "not_"),
    [
        ("%agent st|", ["%agent steps"], ["%agent runs"]),
        ("%agent |", ["%agent approve", "%agent runs", "%agent undo"], []),
        ("%agent runs s|", ["%agent runs search", "%agent runs stats"], ["%agent runs diff"]),
        ("%agent runs |", ["%agent runs diff", "%agent runs --status"], []),
        ("%agent runs --st|", ["%agent runs --status"], ["%agent runs stats"]),
        ("%agent runs search mean --si|", ["%agent runs search mean --since"], []),
        ("%agent approve ask-|", ["%agent approve ask-risky"], ["%agent approve auto"]),
        ("%agent approve |", ["%agent approve auto", "%agent approve ask"], []),
        ("%agent recall o|", ["%agent recall on", "%agent recall off"], []),
        ("%agent mcp re|", ["%agent mcp remove"], []),
        ("%agent model emb|", ["%agent model embedded"], []),
        ("%agent help ru|", ["%agent help runs"], []),
        ("%agent limits --max-s|", ["%agent limits --max-steps", "%agent limits --max-seconds"], []),
        ("%agent sandbox --network h|", ["%agent sandbox --network host"], ["%agent sandbox --network none"]),
        ("%agent sandbox --network=h|", ["%agent sandbox --network=host"], []),
        ("  x = %agent ste|", ["  x = %agent steps"], []),
        ("%%agent --app| --new\ntask", ["%%agent --approve --new\ntask"], []),
        ("%%agent --approve ask| --new", ["%%agent --approve ask-risky --new"], ["%%agent --approve auto --new"]),
        ("%%agent |\ntask", ["%%agent --in\ntask", "%%agent --model\ntask"], []),
        ("%%agent -m emb|", ["%%agent -m embedded"], []),
        ("%%agent --model openai/x,emb|", ["%%agent --model openai/x,embedded"], []),
        ("%%agent --isolation b|", ["%%agent --isolation bwrap"], []),
    ],
)
def test_e1_words_and_options_are_completed(source: str, some: list[str], not_: list[str]) -> None:
    cells = completed(source).values()
    assert set(some) <= set(cells)
    assert not set(not_) & set(cells)


def test_e1_files_are_completed_and_quoted(folder: Path) -> None:
    assert set(completed("%%agent --image |")) == {"plots/", "b.png", "'two words.png'"}
    assert list(completed("%%agent --image b.png -i plots/|")) == ["plots/a.png"]
    assert completed("%agent files 'two|") == {"'two words.png'": "%agent files 'two words.png'"}
    assert list(completed("%agent files .h|")) == [".hidden"]
    assert list(completed("%agent files ~nobody-of-that-name/|")) == []
    assert list(completed("%agent files nowhere/|")) == []


@pytest.mark.parametrize("source", ["zi", "print({na", "%agent", "%%agent", "%%py\nprint({na", "x = 1\ny"])
def test_e1_what_is_python_is_left_to_python(source: str) -> None:
    assert place(source, len(source)) is None


def test_e1_braces_of_a_task_take_variables() -> None:
    for source, is_task in ((f"Say {PENGUIN}{PENGUIN} {{na", True), ("%%agent --new\n\nSay {na", False)):
        found = place(source, len(source), is_task=is_task)
        assert found is not None
        assert found.variables == "all"
        assert found.choices(["name", "nation", "other"]) == ["name", "nation"]
        assert source[: found.start] + "name" == source.removesuffix("na") + "name"
    assert place("Say {name} and", 14, is_task=True) is None
    assert place("Say {name} and", 2, is_task=True) is None


def test_e2_in_and_out_take_variables_of_the_notebook() -> None:
    for source in ("%%agent --in a,b", "%%agent --out b", "%%agent --out=b"):
        found = place(source, len(source))
        assert found is not None
        assert found.variables == "notebook"
        assert (source[found.start :], found.choices(["big", "a"])) == ("b", ["big"])


# ---- through the kernels --------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    """The Cellwright kernel."""
    base, folder = provider.base_url, tmp_path_factory.mktemp("agent")
    async with opened("cellwright_kernel", folder, interrupt="message", OPENAI_API_BASE=base) as notebook:
        yield notebook


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    """A Python notebook with the magics."""
    base, folder = provider.base_url, tmp_path_factory.mktemp("plain")
    async with opened("ipykernel_launcher", folder, interrupt="signal", OPENAI_API_BASE=base) as notebook:
        assert (await notebook.run("%load_ext cellwright")).is_ok
        yield notebook


async def asked(book: Notebook, source: str, seconds: float = 20.0) -> list[str]:
    """The whole cells that completion at the `|` makes."""
    cursor, code = source.index("|"), source.replace("|", "")
    reply = await book.ask(book.client.complete(code, cursor), seconds)
    assert reply["status"] == "ok"
    return [code[: reply["cursor_start"]] + match + code[reply["cursor_end"] :] for match in reply["matches"]]


@modular
async def test_e1_the_kernel_completes_its_own_words(agent: Notebook) -> None:
    assert await asked(agent, "%agent runs sea|") == ["%agent runs search"]
    assert await asked(agent, f"%agent runs search {PENGUIN} --auth|") == [f"%agent runs search {PENGUIN} --author"]
    assert await asked(agent, "%%agent --approve ask-|\nDo it.") == ["%%agent --approve ask-risky\nDo it."]
    assert "%%agent" in await asked(agent, "%%a|")
    assert {"%time", "%%time"} <= set(await asked(agent, "%tim|"))
    assert "%%py\nx = 1" in await asked(agent, "%%p|\nx = 1")


@modular
async def test_e1_the_kernel_completes_models(agent: Notebook) -> None:
    assert (await agent.run("py: final_answer(1)")).is_ok  # litellm is there by now
    offered = [cell.removeprefix("%agent model ") for cell in await asked(agent, "%agent model |")]
    assert {"embedded", "replay:"} < set(offered)
    assert offered[0].startswith("openai/"), "its key is set"
    assert not [name for name in offered if name.startswith("anthropic/")]
    named = await asked(agent, "%%agent --model anthropic/claude-|\nDo it.")
    assert "%%agent --model anthropic/claude-sonnet-4-5\nDo it." in named


@modular
async def test_e1_variables_in_braces_are_completed_also_while_a_cell_runs(agent: Notebook) -> None:
    await agent.run("%%py\nimport os\nspecies, special, other = 1, 2, 3")
    both = [f"{PENGUIN} Is {{special}}?", f"{PENGUIN} Is {{species}}?"]
    assert await asked(agent, f"{PENGUIN} Is {{spe|}}?") == both
    for cell in ("%%py\nprint(1, flush=True)\nimport time; time.sleep(60)", "py: print(1)\nwhile True: pass"):
        request = agent.send(cell)
        await asyncio.sleep(1.5)
        assert await asked(agent, f"{PENGUIN} Is {{spe|}}?", 3.0) == both
        assert "%%py\nspecies" in await asked(agent, "%%py\nspeci|", 5.0)
        assert (await agent.ask(agent.client.inspect("species"), 5.0))["found"]
        assert not agent.cells[request].reply
        await agent.manager.interrupt_kernel()
        assert not (await agent.done(request)).is_ok


@modular
async def test_e2_a_python_notebook_completes_the_magics(plain: Notebook) -> None:
    assert await asked(plain, "%agent runs sea|") == ["%agent runs search"]
    assert await asked(plain, "x = 1\nr = %agent ste|") == ["x = 1\nr = %agent steps"]
    assert await asked(plain, f"%%agent --app|\n{PENGUIN}") == [f"%%agent --approve\n{PENGUIN}"]
    (plain.folder / "seen.png").touch()
    assert await asked(plain, "%%agent --image see|") == ["%%agent --image seen.png"]
    await plain.run("town, tower, table = 'Bergen', 3.5, [1]")
    assert await asked(plain, "%%agent --in a,ta|") == ["%%agent --in a,table"]
    assert await asked(plain, f"%%agent\n{PENGUIN}{PENGUIN} {{to|}}") == [
        f"%%agent\n{PENGUIN}{PENGUIN} {{tower}}",
        f"%%agent\n{PENGUIN}{PENGUIN} {{town}}",
    ]
    assert (await plain.run("%%agent\npy: tomorrow = 5\nfinal_answer(1)")).is_ok
    assert "%%agent\nGo {tomorrow" in await asked(plain, "%%agent\nGo {tom|")
    assert "print" in (await asked(plain, "pri|"))[0]


@modular
async def test_e1_a_reply_comes_also_where_no_sandbox_can_start(tmp_path: Path) -> None:
    async with opened("cellwright_kernel", tmp_path, interrupt="message", CELLWRIGHT_KERNEL_NAME="nowhere") as book:
        assert await asked(book, "zi|") == []
        assert await asked(book, "Say {na|}") == []
        assert await asked(book, "%agent ste|") == ["%agent steps"]
        assert not (await book.ask(book.client.inspect("zip")))["found"]
        (error,) = (await book.run("%%py\n1")).of("error")
        assert "nowhere" in error["evalue"]
