"""Limits: on by default, checked before money is spent, lifted by None, and said in words when reached."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from cellwright.errors import UsageError
from cellwright.events import Status
from cellwright.facts import Usage
from cellwright.limits import Exceeded, Limits, Meter


def reached(meter: Meter) -> tuple[Status, str]:
    with pytest.raises(Exceeded) as error:
        meter.before_reply()
    return error.value.status, error.value.reason


def test_a10_limits_are_on_without_a_word() -> None:
    limits = Limits()
    assert None not in (limits.steps, limits.seconds, limits.tokens, limits.cost, limits.action_seconds)


def test_a10_steps() -> None:
    meter = Meter(Limits(steps=2))
    meter.steps = 1
    meter.before_reply()
    meter.steps = 2
    assert reached(meter) == ("out_of_steps", "No answer after 2 steps; `--max-steps` raises the limit.")


def test_a10_tokens() -> None:
    meter = Meter(Limits(tokens=100))
    meter.add_reply(Usage(80, 19), 0.0)
    meter.before_reply()
    meter.add_reply(Usage(1, 0), 0.0)
    status, reason = reached(meter)
    assert status == "out_of_tokens"
    assert "100 tokens" in reason
    assert "--max-tokens" in reason


def test_a10_cost() -> None:
    meter = Meter(Limits(cost=0.5))
    meter.add_reply(Usage(1, 1), 0.49)
    meter.before_reply()
    meter.add_reply(Usage(1, 1), 0.02)
    status, reason = reached(meter)
    assert status == "out_of_money"
    assert "$0.5100" in reason


def test_a10_seconds() -> None:
    meter = Meter(Limits(seconds=0.01))
    time.sleep(0.02)
    assert reached(meter)[0] == "out_of_time"
    assert meter.seconds_left() == 0.0


def test_a10_none_lifts_a_limit() -> None:
    meter = Meter(Limits(steps=None, seconds=None, tokens=None, cost=None))
    meter.steps = 10**6
    meter.add_reply(Usage(10**9, 10**9), 10.0**6)
    meter.before_reply()
    assert meter.seconds_left() is None


@pytest.mark.parametrize("name", ["steps", "seconds", "tokens", "cost", "action_seconds", "observation_tokens"])
@pytest.mark.parametrize("value", [0, -1])
def test_a10_zero_and_less_are_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"Limit {name} must be more than 0"):
        replace(Limits(), **{name: value})


def test_a10_an_unknown_price_counts_as_nothing_and_is_told() -> None:
    meter = Meter(Limits(cost=0.01))
    meter.add_reply(Usage(1, 1), None)
    meter.before_reply()
    assert meter.totals().cost == 0.0
    assert not meter.totals().cost_known
    meter.add_reply(Usage(1, 1), 0.001)
    assert not meter.totals().cost_known, "one unknown price makes the sum unknown"


def test_a10_changes_make_a_copy() -> None:
    limits = Limits()
    assert replace(limits, steps=3).steps == 3
    assert limits.steps == 20
