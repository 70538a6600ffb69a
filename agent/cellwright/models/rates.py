"""How often and how much at once a model may be asked: one limiter per model, shared by all agents of the process.

Providers count by key, not by agent, so ten agents must share one allowance. They may live in different event loops
(a notebook's and a thread's), which asyncio's own semaphores can't span: the state is guarded by a thread lock that is
never held while waiting, and whoever came first goes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..settings import Settings
    from .base import Model

MINUTE = 60.0
"""Seconds in which requests are counted."""


class Limiter:
    """An allowance: requests in any 60 seconds, and streams that are open at the same time. None lifts a limit."""

    def __init__(self, requests_per_minute: int | None = None, concurrency: int | None = None) -> None:
        self.requests_per_minute = requests_per_minute
        self.concurrency = concurrency
        self.minute = MINUTE
        self.open = 0
        """Streams that are open now."""
        self._lock = threading.Lock()
        self._begun: deque[float] = deque()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def turn(self) -> None:
        """Wait until one more request may be sent; called for each, retries included."""
        at = self._reserve()
        try:
            while (left := at - time.monotonic()) > 0:
                await asyncio.sleep(left)
        except asyncio.CancelledError:
            with self._lock, contextlib.suppress(ValueError):
                self._begun.remove(at)  # nothing was sent
            raise

    def _reserve(self) -> float:
        """The time at which the next request may be sent; it is taken by asking."""
        with self._lock:
            now = time.monotonic()
            while self._begun and self._begun[0] <= now - self.minute:
                self._begun.popleft()
            most = self.requests_per_minute
            at = now if most is None or len(self._begun) < most else max(now, self._begun[-most] + self.minute)
            self._begun.append(at)
            return at

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One of the places for open streams, held until the block is left."""
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._waiting and self._is_free():
                self.open += 1
                return
            mine: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, mine))
        try:
            await mine
        except asyncio.CancelledError:
            with self._lock:
                if (loop, mine) in self._waiting:
                    self._waiting.remove((loop, mine))
                    raise
            self._leave()  # the place had been given to us already
            raise

    def _leave(self) -> None:
        with self._lock:
            self.open -= 1
        self.admit()

    def admit(self) -> None:
        """Give free places to those who wait, first come first served."""
        with self._lock:
            while self._waiting and self._is_free():
                loop, future = self._waiting.popleft()
                # A loop that was closed has nobody left who could use the place.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_wake, future)
                    self.open += 1

    def _is_free(self) -> bool:
        return self.concurrency is None or self.open < self.concurrency


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


_limiters: dict[tuple[str, str], Limiter] = {}
_lock = threading.Lock()


def limiter(
    name: str, api_base: str = "", *, requests_per_minute: int | None = None, concurrency: int | None = None
) -> Limiter:
    """The limiter that all models of that name at that address share; a number given here holds from now on."""
    with _lock:
        shared = _limiters.setdefault((name, api_base), Limiter())
    if requests_per_minute is not None:
        shared.requests_per_minute = requests_per_minute
    if concurrency is not None:
        shared.concurrency = concurrency
        shared.admit()
    return shared


def as_set(model: Model, settings: Settings) -> None:
    """Let the model be asked as often as settings say, if they say so: it holds until another number is said.

    Of several models each gets that allowance. A model without a provider, e.g. the embedded one, needs none.
    """
    if "requests_per_minute" in settings.sources:
        for one in getattr(model, "models", (model,)):
            if isinstance(shared := getattr(one, "limiter", None), Limiter):
                shared.requests_per_minute = settings.requests_per_minute
