"""A provider on loopback that speaks OpenAI's streaming chat protocol, and misbehaves on request.

    async with FakeProvider("cut") as provider:
        model = LiteLLMModel("openai/x", api_base=provider.base_url, api_key="k")

At `/v1/messages` it speaks Anthropic's, whatever the mode, without function calls:

    LiteLLMModel("anthropic/claude-sonnet-4-5", api_base=provider.anthropic_url, api_key="k")

Modes: `ok` streams `reply` · `wrong_key` 401 · `unknown_model` 404 · `busy_once` 429 with Retry-After, then ok ·
`broken` 500 always · `context` 400, too long · `cut` half a reply, then the connection drops · `slow` waits `delay`
seconds before the first token · `endless` never ends · `malformed` a chunk that is no JSON · `reasoning` thinks first ·
`silent_usage` never says what it used · `busy` 429 always · `truncated` ends because of its length.

`calls` are function calls (id, name, arguments) that follow the reply, or a function of the request's body that gives
them; `form` is how they are streamed: `pieces`, as OpenAI does; `one_index`, each whole and all with the same index;
`bare`, without id and index. `usage` is what it says it used, `retry_after` what it asks to wait.

`reply` may be a function of the request's body; `echo` is one, for kernels that need a model that does as it is told.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Self

Call = tuple[str, str, str]
"""Id, name and arguments of a function call."""
THOUGHT_AND_CODE = "Thought: Multiply.\n```python\nfinal_answer(6 * 7)\n```"
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 8},
}
ANTHROPIC_USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 200,
    "cache_read_input_tokens": 3000,
    "output_tokens": 40,
}
_REFUSALS = {
    "wrong_key": (401, "Incorrect API key provided", "invalid_api_key"),
    "unknown_model": (404, "The model `x` does not exist", "model_not_found"),
    "broken": (500, "The server had an error", "server_error"),
    "context": (400, "This model's maximum context length is 8192 tokens", "context_length_exceeded"),
}


class FakeProvider:
    """A real HTTP server on 127.0.0.1; `requests` holds the bodies it got."""

    def __init__(
        self,
        mode: str = "ok",
        *,
        reply: str | Callable[[dict[str, Any]], str] = THOUGHT_AND_CODE,
        delay: float = 5.0,
        pace: float = 0.0,
        calls: Sequence[Call] | Callable[[dict[str, Any]], Sequence[Call]] = (),
        form: str = "pieces",
        usage: object = USAGE,
        retry_after: str = "1",
    ) -> None:
        """`delay`: seconds before the first token in mode `slow`; `pace`: seconds between tokens."""
        self.mode, self.reply, self.delay, self.pace = mode, reply, delay, pace
        self.calls, self.form, self.usage, self.retry_after = calls, form, usage, retry_after
        self.times: list[float] = []
        """When each request came, by the monotonic clock."""
        self.open = self.most_open = 0
        """Requests that are being answered, now and at most."""
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.pieces_sent = 0
        self.closed_early = asyncio.Event()
        """Set when a client went away before its reply was complete."""

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.base_url = f"http://{host}:{port}/v1"
        self.anthropic_url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed_early.set()
        except asyncio.CancelledError:
            pass  # the test is over; asyncio's server logs a cancelled handler as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        self.requests.append(json.loads(await reader.readexactly(int(headers["content-length"]))))
        self.keys.append(headers.get("authorization", ""))
        self.times.append(time.monotonic())
        if self.mode == "busy" or (self.mode == "busy_once" and len(self.requests) == 1):
            wait = f"Retry-After: {self.retry_after}\r\n"
            return await _refuse(writer, 429, "Slow down", "rate_limit_exceeded", wait)

        if self.mode in _REFUSALS:
            return await _refuse(writer, *_REFUSALS[self.mode])

        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await writer.drain()
        gone = asyncio.create_task(reader.read())  # ends when the client closes its side
        is_anthropic = head.partition("\r\n")[0].split()[1].endswith("/messages")
        sending = asyncio.create_task(self._send(writer, self._events() if is_anthropic else self._lines()))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                self.closed_early.set()
            else:
                await sending
        finally:
            self.open -= 1
            for task in (gone, sending):
                task.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _send(self, writer: asyncio.StreamWriter, lines: AsyncIterator[str]) -> None:
        async for line in lines:
            data = f"data: {line}\n\n".encode()
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
            self.pieces_sent += 1
            await asyncio.sleep(self.pace)
        if self.mode != "cut":
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def _events(self) -> AsyncIterator[str]:
        """The reply in Anthropic's protocol ("Streaming messages")."""
        reply = self.reply if isinstance(self.reply, str) else self.reply(self.requests[-1])
        usage = ANTHROPIC_USAGE if self.usage is USAGE else self.usage
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
        yield json.dumps({"type": "message_start", "message": {**message, "usage": usage}})
        yield json.dumps({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        for at in range(0, len(reply), 6):
            delta = {"type": "text_delta", "text": reply[at : at + 6]}
            yield json.dumps({"type": "content_block_delta", "index": 0, "delta": delta})
        yield json.dumps({"type": "content_block_stop", "index": 0})
        yield json.dumps({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
        yield json.dumps({"type": "message_stop"})

    async def _lines(self) -> AsyncIterator[str]:
        reply = self.reply if isinstance(self.reply, str) else self.reply(self.requests[-1])
        pieces = [reply[at : at + 6] for at in range(0, len(reply), 6)]
        if self.mode == "slow":
            await asyncio.sleep(self.delay)
        if self.mode == "reasoning":
            yield _chunk({"reasoning_content": "Six times seven."})
        if self.mode == "cut":
            pieces = pieces[: len(pieces) // 2]
        for piece in pieces:
            yield _chunk({"content": piece})
        if self.mode == "malformed":
            yield '{"choices": [{'
        while self.mode == "endless":
            yield _chunk({"content": "and so on "})
            await asyncio.sleep(0.001)
        calls = self.calls(self.requests[-1]) if callable(self.calls) else self.calls
        for delta in _call_deltas(calls, self.form):
            yield _chunk(delta)
        if self.mode == "cut":
            return
        yield _chunk({}, finish="length" if self.mode == "truncated" else "tool_calls" if calls else "stop")
        if self.mode != "silent_usage":
            yield json.dumps({**_frame(), "choices": [], "usage": self.usage})
        yield "[DONE]"


def _call_deltas(calls: Sequence[Call], form: str) -> Iterator[dict[str, Any]]:
    """Pieces of function calls as they stand in chunks."""
    for index, (call_id, name, arguments) in enumerate(calls):
        function = {"name": name, "arguments": arguments}
        if form == "bare":
            yield {"tool_calls": [{"type": "function", "function": function}]}
        elif form == "one_index":
            yield {"tool_calls": [{"index": 0, "id": call_id, "type": "function", "function": function}]}
        else:
            begun = {"name": name, "arguments": ""}
            yield {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": begun}]}
            for at in range(0, len(arguments), 4):
                yield {"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + 4]}}]}


def echo(request: dict[str, Any]) -> str:
    """The lines behind `py:` in the task as the action, else an answer that repeats the task."""
    said = str(request["messages"][-1]["content"])
    if said.startswith("Observation:"):
        return "```python\nfinal_answer('done')\n```"
    task = said.rpartition("Task: ")[2].split("\n\nAt hand:")[0]
    code = task.partition("py:")[2].strip("\n").removeprefix(" ")
    return f"As told.\n```python\n{code or f'final_answer({task!r})'}\n```"


async def _refuse(writer: asyncio.StreamWriter, status: int, message: str, code: str, headers: str = "") -> None:
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}}).encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


def _frame() -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "x-2026-01-01"}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    return json.dumps({**_frame(), "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
