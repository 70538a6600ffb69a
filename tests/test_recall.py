"""`recall`: an agent that may search what was done before in its folder, and only there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellwright import CodeAgent, ScriptedModel, Secret
from cellwright.errors import ToolCallError, UsageError
from cellwright.events import RunStarted, ToolCalled
from cellwright.identity import origin_of
from cellwright.journal import Journal
from cellwright.options import parse_magic
from cellwright.recall import RecallTool
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.settings import gather
from journals import store, told

HERE = "here"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """Runs of this folder, and one of another."""
    here = RunStarted(run_id="", conversation="c", task="", origin=HERE)
    async with Journal(tmp_path / "journal.sqlite") as opened:
        for run_id, listed in {
            "gulls": told("gulls", "Count the gulls at the harbour.", answer="41", time=1000.0, more=here),
            "terns": told("terns", "Count the terns.", code="birds = read('terns.csv')", time=2000.0, more=here),
            "away": told("away", "Count the gulls of another folder.", answer="7", more=replace(here, origin="there")),
            "cut": told("cut", "Count the puffins.", time=3000.0, end=None, more=here),
        }.items():
            await store(opened, run_id, listed)
        yield opened


async def found(journal: Journal, *arguments: Any) -> list[Any]:
    hits: Any = await RecallTool(journal, HERE).call(arguments, {})
    return list(hits)


# ---- what is found ---------------------------------------------------------------------------------------------------


async def test_f5_recall_tells_task_answer_date_run_and_place(journal: Journal) -> None:
    (hit,) = await found(journal, "gulls")
    assert hit["task"] == "Count the gulls at the harbour." and hit["answer"] == "41" and hit["run"] == "gulls"
    assert hit["date"].startswith("1970-01-01 ") and "gulls" in hit["found"]
    assert set(hit) == {"task", "answer", "date", "run", "found"}


async def test_f5_recall_finds_only_runs_of_the_folder(journal: Journal) -> None:
    assert {hit["run"] for hit in await found(journal, "count")} == {"gulls", "terns", "cut"}
    assert await found(journal, "another") == []
    (other,) = await RecallTool(journal, "there").call(("gulls",), {})
    assert other["run"] == "away"


async def test_f5_recall_of_more_words_than_any_run_holds_takes_the_nearest(journal: Journal) -> None:
    hits = await found(journal, "how many gulls were in the harbour yesterday")
    assert hits[0]["run"] == "gulls"
    assert await found(journal, "nothing of all this") == []


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (2, 2), (0, 1), (999, 3)])
async def test_f5_recall_returns_no_more_than_asked_for(journal: Journal, limit: int, count: int) -> None:
    assert len(await found(journal, "count", limit)) == count


@pytest.mark.parametrize("query", ["", '"', "*", "NEAR(", "a" * 5000, "\x00", "' OR 1=1 --"])
async def test_f5_recall_takes_any_text(journal: Journal, query: str) -> None:
    assert await found(journal, query) == []


async def test_f5_recall_cuts_what_is_long(journal: Journal) -> None:
    here = RunStarted(run_id="", conversation="c", task="", origin=HERE)
    await store(journal, "long", told("long", "auk " * 1000, answer="egg " * 5000, more=here))
    (hit,) = await found(journal, "auk")
    assert len(hit["task"]) <= 300 and len(hit["answer"]) <= 1000 and len(hit["found"]) < 400


async def test_f5_a_closed_journal_is_one_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    await journal.aclose()
    with pytest.raises(ToolCallError) as error:
        await found(journal, "x")
    assert "closed" in str(error.value) and "\n" not in str(error.value)


# ---- in a run --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "work"
    made.mkdir()
    with chdir(made):
        yield made


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


async def done(folder: Path, *tasks: tuple[str, str], tools: Any = ()) -> list[Run]:
    """Runs of one agent with `recall`: task and code of each."""
    journal = Journal(folder.parent / "journal.sqlite")
    sandbox = ChildKernel(isolation=Isolation(level="process"))
    model = ScriptedModel(*(reply(code) for _, code in tasks))
    async with CodeAgent(model, tools=[RecallTool(journal), *tools], sandbox=sandbox, journal=journal) as agent:
        return [await agent.run(task) for task, _ in tasks]


async def test_f5_an_agent_recalls_what_it_did_before_and_never_the_run_it_is_in(folder: Path) -> None:
    _, second = await done(
        folder,
        ("How old is the walrus?", "final_answer('thirty')"),
        ("What of the walrus?", "final_answer(recall('walrus', limit=5))"),
    )
    (hit,) = second.answer
    assert (hit["task"], hit["answer"]) == ("How old is the walrus?", "thirty")
    (called,) = [event for event in second.events if isinstance(event, ToolCalled)]
    assert (called.name, called.args, called.kwargs) == ("recall", ("walrus",), {"limit": 5})
    assert called.result == second.answer
    assert second.started and second.started.origin == origin_of(folder)


async def test_f5_a_later_process_recalls_and_another_folder_does_not(folder: Path) -> None:
    await done(folder, ("Feed the walrus.", "final_answer('fish')"))
    (again,) = await done(folder, ("And now?", "final_answer([hit['answer'] for hit in recall('walrus')])"))
    assert again.answer == ["fish"]
    other = folder.parent / "other"
    other.mkdir()
    with chdir(other):
        (elsewhere,) = await done(folder, ("And here?", "final_answer(recall('walrus'))"))
    assert elsewhere.answer == []


async def test_f5_secrets_stay_hidden(folder: Path) -> None:
    await done(folder, ("The pass word is walrus-4711-key.", "final_answer('known')"))
    secret = Secret("walrus-4711-key")
    (again,) = await done(folder, ("Tell it.", "final_answer(recall('pass word'))"))
    (hit,) = again.answer
    assert hit["run"] and secret.reveal() not in str(again.events)


# ---- the switch ------------------------------------------------------------------------------------------------------


def test_f5_recall_is_off_until_it_is_asked_for(folder: Path) -> None:
    assert gather().recall is False
    assert gather({"recall": True}).recall is True
    assert parse_magic("--recall").settings == {"recall": True}
    assert parse_magic("--no-recall").settings == {"recall": False}
    assert parse_magic("").settings == {}
    os.environ["CELLWRIGHT_RECALL"] = "yes"
    try:
        assert gather().recall is True
        assert gather({"recall": False}).recall is False
        os.environ["CELLWRIGHT_RECALL"] = "perhaps"
        with pytest.raises(Exception, match="CELLWRIGHT_RECALL: recall must be true or false, not 'perhaps'"):
            gather()
    finally:
        del os.environ["CELLWRIGHT_RECALL"]
    with pytest.raises(UsageError, match="true or false"):
        gather({"recall": 7})
