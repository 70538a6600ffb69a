"""Requests per minute and open streams: one allowance per model, shared by all who use it, in turn."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from cellwright.errors import ConfigError
from cellwright.models import rates
from cellwright.models.base import Message, Sampling
from cellwright.models.providers import LiteLLMModel
from cellwright.models.rates import Limiter
from fake_provider import FakeProvider

ASK = [Message("user", "What is 6 * 7?")]


SHORT = 1.0
"""Seconds of the minutes of these tests."""


@pytest.fixture(scope="module", autouse=True)
def litellm_is_warm() -> None:
    """The first request of a process takes a second to prepare, which would blur when it was sent."""

    async def once() -> None:
        async with FakeProvider() as provider:
            await ask(LiteLLMModel("openai/warm", api_base=provider.base_url, api_key="k"))

    asyncio.run(once())


def shorten(provider: FakeProvider) -> None:
    """Count the requests of a second, not of a minute."""
    rates.limiter("openai/limited", provider.base_url).minute = SHORT


def model_of(provider: FakeProvider, **options: Any) -> LiteLLMModel:
    return LiteLLMModel("openai/limited", api_base=provider.base_url, api_key="k", **options)


async def ask(model: LiteLLMModel) -> None:
    async for _ in model.stream(ASK, Sampling()):
        pass


async def test_c1_agents_share_the_requests_of_a_minute() -> None:
    async with FakeProvider() as provider:
        shorten(provider)
        models = [model_of(provider, requests_per_minute=3), *(model_of(provider) for _ in range(6))]
        await asyncio.gather(*map(ask, models))
    times = sorted(provider.times)
    assert len(times) == 7
    for early, late in zip(times, times[3:], strict=False):
        assert late - early >= 0.8 * SHORT
    assert times[2] - times[0] < 0.5 * SHORT  # those that are free go at once


async def test_c1_a_second_try_counts_as_a_request() -> None:
    async with FakeProvider("busy_once", retry_after="0") as provider:
        shorten(provider)
        await ask(model_of(provider, requests_per_minute=1))
    assert provider.times[1] - provider.times[0] >= 0.8 * SHORT


async def test_c1_only_so_many_streams_are_open_at_the_same_time() -> None:
    async with FakeProvider(pace=0.01) as provider:
        models = [model_of(provider, concurrency=2), *(model_of(provider) for _ in range(7))]
        await asyncio.gather(*map(ask, models))
    assert len(provider.requests) == 8
    assert provider.most_open == 2


async def test_c1_another_model_or_server_has_its_own_allowance() -> None:
    async with FakeProvider(pace=0.01) as one, FakeProvider(pace=0.01) as other:
        first, second = model_of(one, concurrency=1), model_of(other)
        await asyncio.gather(ask(first), *(ask(second) for _ in range(4)))
    assert other.most_open == 4


async def test_c1_a_place_is_given_back_when_a_stream_is_closed_or_its_task_cancelled() -> None:
    async with FakeProvider("endless") as provider:
        model = model_of(provider, concurrency=1)
        stream = model.stream(ASK, Sampling())
        await anext(stream)
        await stream.aclose()
        task = asyncio.create_task(ask(model))
        while len(provider.requests) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        provider.mode = "ok"
        await asyncio.wait_for(ask(model), 5)


async def test_c1_who_came_first_goes_first_and_who_leaves_takes_no_place() -> None:
    limits, order = Limiter(concurrency=1), []

    async def use(number: int) -> None:
        async with limits.place():
            order.append(number)
            await asyncio.sleep(0.01)

    tasks = []
    for number in range(5):
        tasks.append(asyncio.create_task(use(number)))
        await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert order == [0, 1, 3, 4]
    assert limits.open == 0


async def test_c1_a_place_that_was_given_in_the_moment_of_leaving_is_not_lost() -> None:
    limits = Limiter(concurrency=1)
    first = limits.place()
    await first.__aenter__()
    second = asyncio.create_task(limits.place().__aenter__())
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)  # gives the place to the second ...
    second.cancel()  # ... which leaves before it wakes
    await asyncio.wait({second})
    assert limits.open == 0
    async with asyncio.timeout(1), limits.place():
        assert limits.open == 1


async def test_c1_a_turn_that_was_not_waited_for_is_free_again() -> None:
    limits = Limiter(requests_per_minute=1)
    limits.minute = SHORT
    await limits.turn()
    waiting = asyncio.create_task(limits.turn())
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait({waiting})
    began = time.monotonic()
    await limits.turn()
    assert time.monotonic() - began < 1.2 * SHORT


async def test_c1_agents_in_different_event_loops_share_it() -> None:
    limits, running, most = Limiter(concurrency=1), 0, 0

    async def use() -> None:
        nonlocal running, most
        for _ in range(20):
            async with limits.place():
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1

    threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(3)]
    for thread in threads:
        thread.start()
    await use()
    for thread in threads:
        await asyncio.to_thread(thread.join, 20)
    assert (most, limits.open) == (1, 0)


async def test_c1_the_newest_number_holds_and_none_changes_nothing() -> None:
    one = rates.limiter("openai/newest", requests_per_minute=5, concurrency=1)
    async with one.place():
        waiting = asyncio.create_task(one.place().__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert rates.limiter("openai/newest", requests_per_minute=None, concurrency=2) is one
        await asyncio.wait_for(waiting, 1)
    assert (one.requests_per_minute, one.concurrency) == (5, 2)


@pytest.mark.parametrize("setting", ["requests_per_minute", "concurrency"])
def test_c1_a_limit_of_nothing_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be 1 or more"):
        LiteLLMModel("openai/x", **{setting: 0})  # type: ignore[arg-type]
