"""Runs that are played instead of done, in which tools and agents are called: two at once, one inside another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest

from browser.played import DOT_PNG, TABLE, ended, started, turn
from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Event,
    Nested,
    Output,
    ReplyReceived,
    Status,
    ToolCalled,
    ToolProgress,
)
from cellwright.facts import ToolFacts, ToolUse, Usage
from cellwright.outputs import Display, Failure, Stream

TASK = "Compare penguin flippers with what the web says of them, and check the figures."
ADELIE, GENTOO = (
    f"Find the mean flipper length of {name} penguins in the literature." for name in ("Adelie", "Gentoo")
)
READ = "Read the table in penguins.pdf and give it as CSV."
CODE = (
    "from concurrent.futures import ThreadPoolExecutor\n\nwith ThreadPoolExecutor(2) as pool:\n"
    "    adelie, gentoo = pool.map(researcher, tasks)\nprint(adelie, gentoo)"
)


def answer(step: int, text: str) -> AnswerGiven:
    return AnswerGiven(step=step, data={"text/plain": text}, value=text, has_value=True)


def called(
    agent: str,
    run_id: str,
    task: str,
    *steps: Iterator[Event],
    answer_: str = "",
    status: Status = "success",
    reason: str = "",
) -> Iterator[Event]:
    """An agent's run, as its own events."""
    yield started(task, run_id=run_id, caller="r1")
    yield from chain(*steps)
    if answer_:
        yield answer(len(steps), answer_)
    yield ended(status, reason, len(steps))


def wrapped(step: int, agent: str, run_id: str, events: Iterator[Event]) -> Iterator[Nested]:
    """Events of a run as its caller's listeners hear them."""
    return (Nested(step=step, agent=agent, event=event, run_id=run_id) for event in events)


def at_once(*runs: Iterator[Event]) -> Iterator[Event]:
    """Runs that go on at the same time."""
    return (event for events in zip_longest(*runs) for event in events if event is not None)


def adelie() -> Iterator[Event]:
    """An agent that meets an error, and calls another agent."""
    failed = turn(
        1,
        "I look for the **table** first.",
        "page = fetch('https://example.org/penguins')\nrows = page['table']",
        ToolCalled(step=1, name="fetch", args=("https://example.org/penguins",), kwargs={}, error="404: no such page"),
        Failure("ToolError", "404: no such page", (), 1),
        outcome="error",
        seconds=0.4,
    )
    reader = called(
        "reader", "k3", READ,
        turn(1, "The file has one table.", "rows = read('penguins.pdf')\nlen(rows)", Stream("stdout", "151\n")),
        answer_="species,mm\nAdelie,189.9",
    )  # fmt: skip
    asks: list[Event] = list(turn(2, "The PDF has it, so I ask the reader.", f"table = reader({READ!r})\nprint(table)"))
    end = asks.pop()
    read = [
        *wrapped(2, "reader", "k3", reader),
        ToolCalled(step=2, name="reader", args=(READ,), kwargs={}, result="species,mm\nAdelie,189.9", seconds=2.2),
        Output(step=2, output=Stream("stdout", "species,mm\nAdelie,189.9\n")),
    ]
    return called("researcher", "k1", ADELIE, failed, iter([*asks, *read, end]), answer_="189.9 mm (n = 151)")


def gentoo() -> Iterator[Event]:
    """An agent that goes straight to its answer, a table."""
    table = Display({"text/html": TABLE, "text/plain": "a table"}, is_result=True)
    looked = turn(1, "Two handbooks agree on it.", "table = search('Gentoo flipper length')\ntable", table, seconds=1.2)
    mean = turn(2, "I take the mean of both.", "final_answer('217.2 mm')", seconds=0.1)
    return called("researcher", "k2", GENTOO, looked, mean, answer_="217.2 mm")


def team(picture: str = DOT_PNG) -> Iterator[Event]:
    """Two agents at once, in a run that goes on with tools."""
    yield started(TASK)
    asks: list[Event] = list(turn(1, "I ask the researcher for both species at once.", CODE, seconds=9.6))
    yield from asks[:-1]
    yield ActionDecided(step=1, verdict="approved", by="auto", code=CODE)
    yield from at_once(wrapped(1, "researcher", "k1", adelie()), wrapped(1, "researcher", "k2", gentoo()))
    for task, found in ((ADELIE, "189.9 mm (n = 151)"), (GENTOO, "217.2 mm")):
        yield ToolCalled(step=1, name="researcher", args=(task,), kwargs={}, result=found, seconds=4.1)
    yield Output(step=1, output=Stream("stdout", "189.9 mm (n = 151) 217.2 mm\n"))
    yield asks[-1]
    yield from checked(2)
    plot = Display({"image/png": picture, "text/plain": "<Figure>"})
    yield from turn(3, "Both agree with our own figures.", "final_answer('They agree.')", plot)
    yield answer(3, "They agree: 189.9 mm and 217.2 mm.")
    yield ended(steps=3)


def checked(step: int) -> Iterator[Event]:
    """Three tools in one step, of which two tell how far they are and one fails."""
    asks: list[Event] = list(
        turn(step, "I check the figures.", "check_all()", Stream("stdout", "checked\n"), seconds=3.4)
    )
    yield from asks[:-2]
    yield ActionDecided(step=step, verdict="approved", by="auto", code="check_all()")
    for share in range(0, 101, 10):
        yield ToolProgress(step=step, name="download", text=f"penguins.csv: {share} %")
        yield ToolProgress(step=step, name="verify", text=f"row {share * 3} of 300")
    url = "https://example.org/data/palmerpenguins/penguins-raw-2026-with-a-long-name.csv"
    yield ToolCalled(step=step, name="download", args=(url,), kwargs={"retries": 3}, result="penguins.csv", seconds=2.1)
    yield ToolCalled(
        step=step, name="lookup", args=(), kwargs={"species": "Adelie"}, seconds=0.3,
        error="species: expected one of 'adelie', 'gentoo', 'chinstrap', got 'Adelie'",
    )  # fmt: skip
    yield ToolCalled(step=step, name="verify", args=("penguins.csv",), kwargs={}, result=True, seconds=3.2)
    yield from asks[-2:]


def native() -> Iterator[Event]:
    """The model calls two tools by itself; one gives up, and the run is stopped before the other ends."""
    uses = (ToolUse("a", "lookup", '{"species": "adelie"}'), ToolUse("b", "lookup", '{"species": "gentoo"}'))
    yield started("Look both up.", tools=(ToolFacts("lookup", "Looks up.", {}, "lookup(species: str)"),))
    yield ReplyReceived(step=1, text="", usage=Usage(prompt=900, completion=20), cost=0.001, seconds=1, calls=uses)
    code = "lookup(species='adelie')\nlookup(species='gentoo')"
    yield ActionProposed(step=1, thought="", code=code)
    yield ActionDecided(step=1, verdict="approved", by="auto", code=code)
    yield ToolProgress(step=1, name="lookup", text="asking the archive")
    yield ToolCalled(
        step=1, name="lookup", args=(), kwargs={"species": "gentoo"}, result=217.2, seconds=0.4, call_id="b"
    )
    yield ActionFinished(step=1, outcome="interrupted", seconds=1.0)
    yield ended("interrupted", "Stopped by the user.", 1)


def gave_up() -> Iterator[Event]:
    """An agent that is called and ends without an answer, and one that could not begin."""
    yield started("Ask.")
    asks: list[Event] = list(turn(1, "I ask.", "researcher('Find it.')", outcome="error"))
    yield from asks[:-1]
    looked = turn(1, "I look.", "look()", Failure("KeyError", "'it'", (), 1), outcome="error")
    stuck = called("researcher", "k1", "Find it.", looked, status="out_of_steps", reason="No answer after 1 step.")
    yield from wrapped(1, "researcher", "k1", stuck)
    yield from wrapped(1, "helper", "", iter([ended("failed", "No sandbox could be started.", 0)]))
    why = "researcher ended without an answer (out_of_steps): No answer after 1 step."
    yield ToolCalled(step=1, name="researcher", args=("Find it.",), kwargs={}, error=why, seconds=1.4)
    yield Output(step=1, output=Failure("ToolError", why, (), 1))
    yield asks[-1]
    yield ended("failed", "The code raised an error.", 1)
