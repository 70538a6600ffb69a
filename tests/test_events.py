"""Events: to JSON and back unchanged, all kinds; a run is their fold."""

from __future__ import annotations

from typing import Any

import pytest

from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Compacted,
    Event,
    InputGiven,
    NoAction,
    Output,
    Planned,
    ReplyDelta,
    ReplyReceived,
    RunEnded,
    RunResumed,
    RunStarted,
    Told,
    ToolCalled,
    ValuePut,
)
from cellwright.facts import FileFacts, SandboxFacts, ToolFacts, ToolUse, Totals, Usage
from cellwright.limits import Limits
from cellwright.outputs import Clear, Display, Failure, Stream, show
from cellwright.run import Run
from cellwright.wire import from_json, kinds, to_json

SANDBOX = SandboxFacts("child-kernel", "process", "host", "python3", "3.13", "data", packages={"pandas": "3"})
EXAMPLES: list[Event] = [
    RunStarted(
        run_id="r",
        conversation="c",
        task="t",
        tools=(ToolFacts("f", "F.", {"type": "object"}, "f()"),),
        limits=Limits(steps=None),
        sandbox=SANDBOX,
        files=(FileFacts("a.csv", 3, "00"),),
        parent="p",
        parent_step=2,
    ),
    ValuePut(name="x", form="json", value=[1, {"a": None}]),
    ReplyDelta(step=1, text="x"),
    ReplyReceived(step=1, text="ü ✓", usage=Usage(1, 2, 3, 4, True), cost=None, seconds=0.5, parameters={"t": 0.0}),
    ReplyReceived(step=1, text="", usage=Usage(), cost=0.1, seconds=0.5, calls=(ToolUse("c1", "f", '{"a": 1}'),)),
    Told(step=1, text="t", by="planning"),
    Planned(step=1, text="1. x", usage=Usage(1, 2), cost=0.1, seconds=0.5),
    Compacted(step=3, kept=2, characters=1000),
    ActionProposed(step=1, thought="t", code="c"),
    ActionDecided(step=1, verdict="denied", by="guard", code="c", reason="no"),
    Output(step=1, output=Stream("stdout", "\x1b[31mx")),
    Output(step=1, output=Display({"text/plain": "1"}, is_result=True)),
    Output(step=1, output=Failure("E", "v", ("t",), 3)),
    Output(step=1, output=Clear(wait=True)),
    ToolCalled(step=1, name="f", args=(1, "a"), kwargs={"k": [1]}, result={"a": 1}),
    ActionFinished(step=1, outcome="died", seconds=1.5, state_lost=True, note="n"),
    InputGiven(step=1, prompt="Name: ", value="Ada"),
    RunResumed(step=2, note="n", sandbox=SANDBOX),
    NoAction(step=1, note="n"),
    AnswerGiven(step=1, data={"text/plain": "2"}, value=2, has_value=True, type_name="int"),
    RunEnded(status="out_of_money", reason="r", totals=Totals(3, 1.0, Usage(1, 1), 0.1, False)),
]


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(event) for event in EXAMPLES} == set(kinds())


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_to_json_and_back(event: Event) -> None:
    text = to_json(event)
    assert "\n" not in text
    assert from_json(text) == event


def test_half_a_character_becomes_a_question_mark() -> None:
    event = from_json(to_json(NoAction(step=1, note="a\ud83db")))
    assert isinstance(event, NoAction)
    assert event.note == "a?b"


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "dream"}', '{"kind": "no_action"}', "[]"])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        from_json(text)


def test_neighbours_join_updates_replace_clear_empties() -> None:
    shown: list[Any] = []
    for output in (Stream("stdout", "a"), Stream("stdout", "b"), Stream("stderr", "c")):
        show(shown, output)
    assert shown == [Stream("stdout", "ab"), Stream("stderr", "c")]
    show(shown, Display({"text/plain": "1"}, display_id="d"))
    show(shown, Display({"text/plain": "2"}, display_id="d", is_update=True))
    assert shown[-1].data == {"text/plain": "2"}
    show(shown, Clear())
    assert shown == []


def test_totals_of_an_open_run_are_those_of_its_replies() -> None:
    run = Run([EXAMPLES[0], EXAMPLES[3]])
    assert run.status == "running"
    assert run.totals.usage.total == 3
    assert not run.totals.cost_known
