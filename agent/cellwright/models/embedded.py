"""The embedded model: no key, no network, on any machine that has 2 GB of memory to spare.

llama.cpp loads the weights in a process of its own (`embedded_server`): loading holds Python's lock for seconds, and a
crash there must not take the notebook along. All embedded models of one process share that server; the last to go ends
it. A small model needs to be shown the form of a reply (`examples`) and held to it (a grammar): five of ten tasks
become nine.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.util import find_spec

from ..errors import ModelFileError, ModelUnavailable, one_line
from ..facts import Usage
from ..outputs import Json
from . import weights
from .base import Message, ReplyEnd, ReplyPart, Sampling
from .providers import LiteLLMModel, count_by_length, import_litellm, loaded_litellm

NAME = "embedded"
CONTEXT = 8192
"""Tokens that the model reads and writes."""
LONGEST_REPLY = 768
"""Tokens of one reply: code of sixty short lines."""
SILENCE = 600.0
"""Seconds without a byte; a full context takes two minutes to read on two cores, more on a busy machine."""
MOST_THREADS = 8


class EmbeddedModel:
    """Qwen2.5-Coder-1.5B-Instruct (Apache-2.0), run by llama.cpp on this machine."""

    name = NAME
    calls_functions = False
    """It writes function calls as text: a JSON object for each."""

    def __init__(self) -> None:
        self._leave = weakref.finalize(self, _server.leave, id(self))

    @property
    def examples(self) -> Sequence[Message]:
        return _examples("examples.md")

    @property
    def call_examples(self) -> Sequence[Message]:
        """Shown in place of `examples` where function calls are wanted."""
        return _examples("examples_functions.md")

    @property
    def call_parameters(self) -> Mapping[str, Json]:
        """What a request holds where function calls are wanted: another grammar than that of code, in its place."""
        return {"extra_body": {"grammar": _grammar("functions.gbnf"), "cache_prompt": True}}

    async def wait_until_ready(self) -> None:
        """Return when litellm is imported and the weights are loaded. Raises `ModelError`."""
        await asyncio.gather(loaded_litellm(), asyncio.wrap_future(_server.start(id(self))))

    def warm_up(self) -> None:
        """Begin to import litellm and to load the weights, each in the background. Problems wait for `stream`."""
        import_litellm()
        _server.start(id(self))

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The reply to `messages`, piece by piece, then one `ReplyEnd`. Raises `ModelError`."""
        running = await asyncio.wrap_future(_server.start(id(self)))
        model = LiteLLMModel(
            "openai/embedded",
            api_base=running.api_base,
            api_key=running.api_key,
            sampling=Sampling(temperature=0.0),
            extra={"extra_body": {"grammar": _grammar("reply.gbnf"), "cache_prompt": True}},
            retries=0,
            silence=SILENCE,
            shown_as=NAME,
        )
        bounded = replace(sampling, max_tokens=min(sampling.max_tokens or LONGEST_REPLY, LONGEST_REPLY))
        inner = model.stream(messages, bounded)
        try:
            async for part in inner:
                yield replace(part, cost=0.0, model=weights.PINNED.file) if isinstance(part, ReplyEnd) else part
        except ModelUnavailable as error:
            for _ in range(20):  # the connection breaks a moment before the process is seen to have ended
                if running.process.poll() is not None:
                    break
                await asyncio.sleep(0.05)
            else:
                raise
            raise ModelUnavailable(NAME, "Its process ended in the middle; the next use starts a new one.") from error
        finally:
            await inner.aclose()

    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        """An estimate of tokens; it costs nothing."""
        return count_by_length(messages, reply), 0.0

    async def aclose(self) -> None:
        """End the server when nobody else in this process uses it."""
        await asyncio.to_thread(self._leave)


def problem() -> str:
    """Why the embedded model can't run here, as one line that says what to do; empty when it can."""
    if find_spec("xllamacpp") is None:
        return "The embedded model needs llama.cpp: `pip install 'cellwright[embedded]'`."
    if weights.find() is None:
        return "The embedded model has not been fetched: `cellwright model pull` gets it (1.1 GB, once)."
    return ""


# ---- the shared process ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    process: subprocess.Popen[str]
    api_base: str
    api_key: str


class _SharedServer:
    """The one server of this process, and who uses it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may call `leave` while this thread is inside
        self._users: set[int] = set()
        self._running: Future[Running] | None = None

    def start(self, user: int) -> Future[Running]:
        """Note the user, and start the server in a thread unless it runs or is being started. Returns at once."""
        with self._lock:
            self._users.add(user)
            if self._running and _is_over(self._running):
                self._running.add_done_callback(_end)  # it is dead, but its pipe is still open
                self._running = None
            if self._running is None:
                self._running = Future()
                self._running.set_running_or_notify_cancel()  # one waiter's cancellation is not the others'
                threading.Thread(target=_start_into, args=(self._running,), name="embedded-start", daemon=True).start()
            return self._running

    def leave(self, user: int) -> None:
        """Strike the user out; end the server with the last one."""
        with self._lock:
            self._users.discard(user)
            if self._users or self._running is None:
                return
            ending, self._running = self._running, None
        ending.add_done_callback(_end)


_server = _SharedServer()


def _is_over(running: Future[Running]) -> bool:
    """True when the start failed or the process has ended since."""
    return running.done() and (running.exception() is not None or running.result().process.poll() is not None)


def _start_into(future: Future[Running]) -> None:
    try:
        future.set_result(_started())
    except (ModelFileError, ModelUnavailable) as error:
        future.set_exception(error)
    except (OSError, ValueError, KeyError) as error:
        future.set_exception(ModelUnavailable(NAME, f"Its process could not be started: {one_line(str(error))}."))


def _started() -> Running:
    """Start the process and wait until it listens."""
    path = weights.find()
    if why := problem():
        raise ModelFileError(why)

    # Its own session: stopping a cell sends SIGINT to the kernel's whole group, and the server must outlive that.
    process = subprocess.Popen(
        [sys.executable, "-m", "cellwright.models.embedded_server", str(path), str(_threads()), str(CONTEXT)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    for line in process.stdout:
        if line.startswith("{"):
            break
    else:
        raise ModelUnavailable(NAME, cause(process.wait()))
    process.stdout.close()
    said = json.loads(line)
    if why := said.get("error"):
        _stop(process)
        raise ModelUnavailable(NAME, cause(1, why))
    return Running(process, said["api_base"], said["api_key"])


def _end(future: Future[Running]) -> None:
    if future.exception() is None:
        _stop(future.result().process)


def _stop(process: subprocess.Popen[str]) -> None:
    """Close its standard input, which it takes as the sign to end."""
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _threads() -> int:
    """Cores that this process may use, up to the number that still makes a small model faster."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, MOST_THREADS)


def cause(status: int, why: str = "") -> str:
    """What an exit status and a last line of llama.cpp's process mean, and what to do about it."""
    if status == -4:  # SIGILL
        return "llama.cpp needs a processor with AVX2, and this one has none."
    if status == -9:
        return "The system ended it, probably for want of memory (it needs 2 GB)."
    if "libgomp" in why:
        return "llama.cpp needs the system's libgomp (Debian, Ubuntu: `apt-get install libgomp1`)."
    return f"{one_line(why, 200).rstrip('.') or f'llama.cpp ended with status {status}'}."


# ---- prompts ---------------------------------------------------------------------------------------------------------


@cache
def _grammar(name: str) -> str:
    return (resources.files("cellwright") / "prompts" / name).read_text("utf-8")


@cache
def _examples(name: str) -> tuple[Message, ...]:
    """The example tasks with their replies; each begins with a line that says who speaks."""
    text = (resources.files("cellwright") / "prompts" / name).read_text("utf-8")
    messages = []
    for block in text.split("<!-- ")[1:]:
        speaker, _, content = block.partition(" -->\n")
        messages.append(Message("user" if speaker == "user" else "assistant", content.strip()))
    return tuple(messages)
