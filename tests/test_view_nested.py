"""Calls of tools, and runs of agents that were called: live, in the static twin, out of the journal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from rich.console import Console

from browser.nested import (
    ADELIE,
    CODE,
    GENTOO,
    at_once,
    called,
    checked,
    gave_up,
    gentoo,
    native,
    team,
    wrapped,
)
from browser.played import started, turn
from cellwright.agent import CodeAgent
from cellwright.console import ConsoleView
from cellwright.events import ActionDecided, Event, Nested, ReplyDelta, RunStarted, ToolCalled, ToolProgress
from cellwright.journal import Journal
from cellwright.models.scripted import ScriptedModel
from cellwright.outputs import Stream
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel
from cellwright.tools import tool
from cellwright_extension.tree import Tree, with_called
from cellwright_extension.view import static_html, static_text
from cellwright_extension.words import tree_header
from test_view import Page, Recorded, messages_of


def tree(events: Iterator[Event], upto: type[Event] | None = None) -> Tree:
    """The run as far as the first event of a kind, it included."""
    made = Tree()
    for event in events:
        made.add(event)
        if upto and isinstance(event, upto):
            break
    return made


def calls(events: list[Event]) -> list[dict[str, Any]]:
    """What the page is told of calls."""
    return [message for message in messages_of(events) if message["op"] == "call"]


# ---- calls of tools -------------------------------------------------------------------------------------------------


def test_e3_a_tool_at_work_is_one_line_that_changes() -> None:
    told = calls([started(), *checked(1)])
    download = [message for message in told if message["index"] == 0]
    assert [message["said"] for message in download[:3]] == [
        "penguins.csv: 0 %",
        "penguins.csv: 10 %",
        "penguins.csv: 20 %",
    ]
    assert {message["state"] for message in download[:-1]} == {"running"}
    assert (download[-1]["state"], download[-1]["said"], download[-1]["seconds"]) == ("ok", "→ 'penguins.csv'", 2.1)
    assert download[-1]["call"].startswith("download('https://example.org/")
    assert len(download[-1]["call"]) < 100, "arguments are shortened"
    assert {message["index"] for message in told} == {0, 1, 2}


def test_e3_a_call_that_failed_says_why() -> None:
    (failed,) = (message for message in calls([started(), *checked(1)]) if message["state"] == "error")
    assert failed["call"] == "lookup(species='Adelie')"
    assert failed["said"].startswith("species: expected one of")
    assert "✗ lookup(species='Adelie'): species: expected one of" in static_text(Run([started(), *checked(1)]))


def test_e3_calls_of_the_model_itself_are_shown_before_they_end() -> None:
    made = tree(native(), upto=ActionDecided)
    assert [(call.name, call.called) for call in made.calls(1)] == [("lookup", None)] * 2
    first, second = calls(list(native()))[:2]
    assert (first["call"], second["call"]) == ("lookup(species='adelie')", "lookup(species='gentoo')")
    assert first["state"] == second["state"] == "running"


def test_e3_calls_of_one_name_are_told_apart_by_their_id() -> None:
    """The second ends first."""
    last = {message["index"]: message for message in calls(list(native()))}
    assert (last[1]["state"], last[1]["said"]) == ("ok", "→ 217.2")
    assert (last[0]["state"], last[0]["said"]) == ("warn", "not finished")
    assert "lookup(species='adelie') not finished" in static_text(Run(native()))


def test_e3_progress_is_not_kept_in_the_static_twin() -> None:
    run = Run([started(), *checked(1)])
    assert "penguins.csv: 50 %" not in static_html(run) + static_text(run)
    assert "verify(&#x27;penguins.csv&#x27;) → True · 3.2 s" in static_html(run)


async def test_e3_fast_progress_is_gathered() -> None:
    view = Recorded()
    view.take(started())
    for event in list(turn(1, "a", "b"))[:-1]:
        view.take(event)
    sent = len(view.batches)
    for number in range(500):
        for name in ("left", "right"):
            view.take(ToolProgress(step=1, name=name, text=f"{number}"))
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    batches = view.batches[sent:]
    assert len(batches) < 40
    assert max(len(batch["changes"]) for batch in batches[1:]) <= 2
    assert [change["said"] for change in batches[-1]["changes"]] == ["499", "499"]


# ---- runs of agents -------------------------------------------------------------------------------------------------


def test_e3_a_call_of_an_agent_is_shown_as_its_run_only() -> None:
    run = Run(team())
    text = static_text(run)
    assert text.count(f"researcher: {ADELIE}") == 1
    assert "researcher('Find" not in text
    last = {
        message["index"]: message["state"]
        for message in calls(list(team()))
        if message["step"] == 1 and "run" not in message
    }
    assert set(last.values()) == {"agent"}


def test_e3_a_call_of_an_agent_with_wrong_arguments_is_shown_as_a_call() -> None:
    refused = ToolCalled(step=1, name="researcher", args=(), kwargs={"tsk": 1}, error="tsk: no such argument")
    *begin, end = [started(), *turn(1, "a", "b")]
    made = tree(iter([*begin, *wrapped(1, "researcher", "k2", gentoo()), refused, end]))
    assert "✗ researcher(tsk=1): tsk: no such argument" in static_text(made.run)


def test_e3_runs_of_agents_stand_in_their_step_in_the_order_of_their_start() -> None:
    made = tree(team())
    assert [(inner.key, inner.run.task) for inner in made.inner(1)] == [("k1", ADELIE), ("k2", GENTOO)]
    assert [inner.name for inner in made.inner(1)[0].inner(2)] == ["reader"]
    assert made.inner(2) == []


def test_e3_static_twin_holds_the_runs_of_agents_folded() -> None:
    html, text = static_html(Run(team())), static_text(Run(team()))
    assert html.count("<details><summary>↳ <b>researcher</b>") == 2
    assert html.count("<blockquote") == 3
    lines = text.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("  researcher: "))
    assert lines[at + 1] == "    Step 1 (ToolError · 0.4 s)"
    assert "      reader: Read the table in penguins.pdf and give it as CSV. (done · 1 step" in text
    assert "        Step 1 (0.8 s)" in lines
    assert "    Answer: 217.2 mm" in lines


def test_e3_an_agent_that_gave_up_is_open_and_says_why() -> None:
    html = static_html(Run(gave_up()))
    assert "<details open><summary>↳ <b>researcher</b> Find it." in html
    assert "<i>No answer after 1 step.</i>" in html
    assert "<b>helper</b>" in html
    assert "No sandbox could be started." in html


def test_e3_a_run_that_was_broken_off_says_so_of_its_agents() -> None:
    events = list(team())
    end = next(index for index, event in enumerate(events) if isinstance(event, Nested)) + 20
    text = static_text(Run(events[:end]))
    assert f"researcher: {ADELIE} (not finished · " in text


def test_e3_header_counts_what_agents_have_spent_so_far() -> None:
    made = tree(team(), upto=ToolCalled)
    inner = [run.run.totals.usage.prompt for run in made.inner(1)]
    assert made.totals.usage.prompt == made.run.totals.usage.prompt + sum(inner)
    assert tree_header(made).spent[0].startswith(f"{made.totals.usage.prompt / 1000:.1f}k in")
    whole = tree(team())
    assert whole.totals == whole.run.totals, "at the end they are counted in"


def test_e3_header_of_an_agent_says_only_what_its_callers_does_not() -> None:
    made = tree(team())
    head = tree_header(made.inner(1)[1])
    assert (head.model, head.marks, head.steps) == ("", (), "2 steps")
    assert head.spent == ("9.1k in · 412 out", "$0.0126")


async def test_e3_words_of_agents_at_work_at_once_are_gathered() -> None:
    view = Recorded()
    for event in [started(), *list(turn(1, "a", "b"))[:-1]]:
        view.take(event)
    for key in "pqr":
        view.take(Nested(step=1, agent="a", run_id=key, event=started(key, run_id=key)))
    sent = len(view.batches)
    for key in islice(cycle("pqr"), 900):
        view.take(Nested(step=1, agent="a", run_id=key, event=ReplyDelta(step=1, text=key)))
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    batches = view.batches[sent + 1 :]
    assert len(batches) < 60
    assert max(len(batch["changes"]) for batch in batches) <= 3
    page = Page()
    for batch in view.batches:
        for message in batch["changes"]:
            page.take(message)
    assert {key: shown.shown["reply",] for key, shown in page.inner.items()} == {key: key * 300 for key in "pqr"}


async def test_e3_hundred_steps_of_agents_travel_in_less_than_450_kb() -> None:
    view = Recorded()
    view.take(started())
    for event in list(turn(1, "I ask ten.", CODE))[:-1]:
        view.take(event)
    code = (
        "part = rows[100:200]\nfor row in part:\n    total += float(row['amount'])\nprint(len(part), round(total, 2))"
    )
    for start in (0, 5):
        runs = []
        for number in range(start, start + 5):
            steps = [
                turn(n, f"Step {n}: the *next part*.", code, Stream("stdout", "100 1234.5\n")) for n in range(1, 11)
            ]
            run = called("researcher", f"k{number}", f"Part {number}.", *steps, answer_="1234.5")
            runs.append(wrapped(1, "researcher", f"k{number}", run))
        for event in at_once(*runs):
            view.take(event)
            await asyncio.sleep(0.0003)
    size = sum(map(len, view.__dict__["sent"]))
    print(f"10 agents of 10 steps: {size / 1000:.0f} KB in {len(view.batches)} messages")
    assert size < 450_000


# ---- the console ----------------------------------------------------------------------------------------------------


def console(events: Iterable[Event], *, is_terminal: bool = False) -> str:
    file = StringIO()
    view = ConsoleView(Console(file=file, width=100, force_terminal=is_terminal, legacy_windows=False))
    for event in events:
        view.take(event)
    view.close()
    return file.getvalue()


def test_e8_a_console_tells_agents_apart_and_shows_their_errors() -> None:
    lines = console(team()).splitlines()
    assert f"  researcher: {ADELIE}" in lines
    assert f"  researcher #2: {GENTOO}" in lines
    assert "  researcher, step 1: ToolError: 404: no such page" in lines
    assert "  researcher > reader, step 1: The file has one table." in lines
    assert "  researcher #2: success, 2 steps, 9,532 tokens, $0.0126, 14.2 s" in lines
    assert "  helper: failed (No sandbox could be started.), 0 steps, 9,532 tokens, $0.0126, 14.2 s" in console(
        gave_up()
    )


def test_e8_progress_is_a_line_each_in_a_file_and_in_place_in_a_terminal() -> None:
    events = [started(), *checked(1)]
    assert console(events).count("  download: penguins.csv: ") == 11
    shown = console(events, is_terminal=True)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.rpartition("penguins.csv: 100 %")[2])
    assert "verify: row 300 of 300" in last
    assert "\x1b[2K" in shown, "the lines before were erased"


# ---- real agents, and the journal -----------------------------------------------------------------------------------


def reply(code: str) -> str:
    return f"I do it.\n\n```python\n{code}\n```"


@tool
async def slow(n: int) -> Any:
    """Work for a while.

    n: a number.
    """
    for share in (50, 100):
        yield f"{share} %"
        await asyncio.sleep(0.05)
    yield n * 2


async def test_e3_a_run_out_of_the_journal_shows_the_agents_that_it_called(tmp_path: Path) -> None:
    """As the view showed them while it went on: two at once, one of which calls another."""
    reader = CodeAgent(
        ScriptedModel(reply("final_answer(x + slow(1))")),
        sandbox=ChildKernel(), tools=[slow], journal=None, name="reader", description="Reads.",
    )  # fmt: skip
    doubler = CodeAgent(
        ScriptedModel(reply("import time; time.sleep(0.5)\nfinal_answer(2 * reader('Read.', {'x': x}))")),
        sandbox=ChildKernel(), managed_agents=[reader], journal=None, name="doubler", description="Doubles.",
    )  # fmt: skip
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(2) as pool:\n"
        "    results = list(pool.map(lambda n: doubler(f'Double {n}.', {'x': n}), [1, 2]))\n"
        "final_answer(results)"
    )
    view, journal = Recorded(), Journal(tmp_path / "journal.sqlite")
    model = ScriptedModel(reply(code))
    outer = CodeAgent(model, sandbox=ChildKernel(), journal=journal, managed_agents=[doubler], listeners=[view.take])
    run = await outer.run("Both.")
    assert run.answer == [6, 8]
    live = static_text(view.run)
    assert live.count("doubler: Double") == 2
    assert live.count("reader: Read.") == 2
    assert live.count("slow(1) → 2") == 2

    inner = [
        event.event.run_id
        for event in view.run.events
        if isinstance(event, Nested) and isinstance(event.event, RunStarted)
    ]
    deeper = [
        event.event.event.run_id
        for event in view.run.events
        if isinstance(event, Nested) and isinstance(event.event, Nested) and isinstance(event.event.event, RunStarted)
    ]
    ids = [*inner, *deeper]
    assert len(set(ids)) == 4
    others = [await journal.run(run_id) for run_id in ids]
    own = await journal.run(run.id)
    assert "doubler: Double" not in static_text(own)
    assert static_text(with_called(own, others)) == live
    assert static_html(with_called(own, [*others, own])) == static_html(view.run)
    await asyncio.gather(reader.aclose(), doubler.aclose(), outer.aclose(), journal.aclose())
