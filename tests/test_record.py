"""Records: the same events with the same chain, from a journal or from none; every change is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cellwright.chain import GENESIS, LONG, link
from cellwright.events import AnswerGiven, Event, Output, RunEnded, RunStarted
from cellwright.outputs import Stream
from cellwright.record import Line, Record, fault, read, record_of
from cellwright.run import Run


def run(run_id: str, conversation: str = "c", text: str = "1\n") -> Run:
    listed: list[Event] = [
        RunStarted(run_id=run_id, conversation=conversation, task="t"),
        Output(step=1, output=Stream("stdout", text)),
        AnswerGiven(step=1, data={"text/plain": "1"}),
        RunEnded(status="success"),
    ]
    return Run(replace(event, seq=seq, time=1000.0 + seq) for seq, event in enumerate(listed))


def test_each_run_takes_up_the_one_before_of_its_conversation() -> None:
    one, other, two = record_of([run("a"), run("x", "other"), run("b")])
    assert (one.before, other.before, two.before) == (GENESIS, GENESIS, one.last)
    assert two.lines[0].link == link(one.last, two.lines[0].body)
    assert [fault(record) for record in (one, other, two)] == [None] * 3


def test_the_run_comes_back_out_of_its_lines() -> None:
    (record,) = record_of([run("a", text="x" * (LONG + 1))])
    assert list(record.blobs.values()) == ["x" * (LONG + 1)]
    assert read((line.body for line in record.lines), record.blobs).events == record.run.events
    with pytest.raises(ValueError, match="missing"):
        read((line.body for line in record.lines), {})


CHANGES: dict[str, Callable[[Record], Record]] = {
    "event 1 does not fit": lambda r: replace(r, lines=[r.lines[0], Line(r.lines[1].link, "{}"), *r.lines[2:]]),
    "event 2 does not fit": lambda r: replace(r, lines=[*r.lines[:2], r.lines[3]]),
    "event 0 does not fit": lambda r: replace(r, before="1" * 64),
    "a long text of event 1 is missing": lambda r: replace(r, blobs={}),
    "a long text of event 1 was changed": lambda r: replace(r, blobs=dict.fromkeys(r.blobs, "y")),
}


@pytest.mark.parametrize("said", CHANGES)
def test_the_first_thing_that_does_not_fit_is_named(said: str) -> None:
    (record,) = record_of([run("a", text="x" * (LONG + 1))])
    changed = CHANGES[said](record)
    assert said in (fault(changed) or "")
