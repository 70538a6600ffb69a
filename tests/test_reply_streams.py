"""Replies as they stream in: made from a grammar, cut anywhere, from real connections, and without an action at all."""

from __future__ import annotations

import asyncio
import json
import textwrap
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwright import CodeAgent, ScriptedModel, ToolCallingAgent
from cellwright.asking import StreamedReply
from cellwright.errors import ModelError
from cellwright.events import NoAction, ReplyDelta, ReplyReceived
from cellwright.fences import without_reasoning
from cellwright.formats import JsonReply, JsonScanner, Markdown, PythonCall, ReplyFormat, calls_in, code_in_json
from cellwright.memory import Memory
from cellwright.models.base import Message, Reasoning, Sampling, Text
from cellwright.models.providers import LiteLLMModel
from cellwright.replies import FenceScanner, Reply
from cellwright.sandbox.child import ChildKernel
from fake_provider import FakeProvider

# ---- replies made from a grammar ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A reply, and what must be read from it, known from how it was made."""

    text: str
    thought: str
    code: str
    end: int | None
    """How many characters there are when the action is complete; None when it is never closed."""


PROSE = [  # as written, and as shown
    ("I add **them** with `sum`.\n", None),
    ("It's 5 < 6; don't \"quote\".\n", None),
    ("Use ```no()``` for it, and <code> too.\n", None),
    ('Data:\n```json\n{"a": [1]}\n```\n', None),
    ("Look:\n````markdown\n```python\nno()\n```\n````\n", None),
    ("Look:\n```md\n```python\nno()\n```\n\n~~~\n```\n", None),
    ("```bash\npip install x\n```\n", None),
    ("\n", None),
    ("<think>\nno()\n```python\nno()\n```\n</think>\n", "\n"),
    ("<thinking>no()</thinking>\n", "\n"),
    ("<reasoning>```\nno()\n```</reasoning>\n", "\n"),
]
STRAY = "So I reason, with `no()`.\n</think>\n"
OPENINGS = [  # marks as written, what of them is thought, what may close the code
    ("```python\n", "", "```"),
    ("```py\n", "", "```"),
    ("```Python  \n", "", "```"),
    ("```\n", "", "```"),
    ("  ```ipython3\n", "", "```"),
    ("```{python}\n", "", "```"),
    ('```python title="a.py"\n', "", "```"),
    ("````python\n", "", "````"),
    ("~~~python\n", "", "~~~"),
    ("Code: ```python\n", "", "```"),
    ("1. ```python\n", "1.", "```"),
    ("```\n```python\n", "", "```"),
    ("<code>\n", "", "</code>"),
    ("<execute>", "", "</execute>"),
    ("[PYTHON]\n", "", "[/PYTHON]"),
    ("<|python_start|>", "", "<|python_end|>"),
    ("<code>\n```python\n", "", "\n```\n</code>"),
]
CODE = [
    "x = 1\nprint(x)",
    'a = """\n```\nno()\n```\n"""',
    "a = '''\n~~~\n```python\nno()\n```\n\"\"\"'''",
    "a = '```'",
    'a = f"```{1}```" + f\'{"```"}\'',
    "a = rb'\\d```'",
    "# it's ``` \"here",
    "a = 1  # `a`",
    "d = {'a': \"it's\", \"b\": ''}",
    'def f():\n    """Doc.\n\n    ```python\n    f()\n    ```\n    """\n    return 1',
    "a = 'b\\\n```'",
    "a = ~~~1",
    "a = ''\nb = \"\"\nc = ''''''",
    "a = '\\'```' + \"\\\"```\"",
    "a = 'é\ufffd你' + '</thinking>'",
    'a = "</code></execute>[/PYTHON]<|python_end|>"',
    'a = """b\n   \nc"""',
    "if 1:\n    pass",
]
TAILS = [
    "",
    "\n",
    "  \n",
    " and so on",
    "\n\nObservation: 1\n```python\nevil()\n```\n",
    "<end_code>",
    "\n<code>evil()</code>",
]


@st.composite
def replies(draw: st.DrawFn) -> Made:
    written, shown = "", ""
    for text, seen in [("Thought: Go.\n", "Go.\n"), *draw(st.lists(st.sampled_from(PROSE), max_size=4))]:
        written += text
        shown += text if seen is None else seen
    if draw(st.booleans()):
        written, shown = written + STRAY, ""
        for text, seen in draw(st.lists(st.sampled_from(PROSE), max_size=2)):
            written += text
            shown += text if seen is None else seen
    opening, prefix, closer = draw(st.sampled_from(OPENINGS))
    code = "\n".join([*draw(st.lists(st.sampled_from(CODE), max_size=4)), "final_answer(1)"])
    inside = textwrap.indent(code, "  ") if opening.startswith("  ") and '"""' not in code else code
    if "'''" in code or "\\\n" in code:  # an indented string is another string
        inside = code
    written += opening + inside
    end = None
    if draw(st.booleans()) or closer.startswith("\n"):
        in_line = closer[0] in "`<[" and draw(st.booleans())
        written += closer if in_line or closer.startswith("\n") else "\n" + closer
        end = len(written)
        written += draw(st.sampled_from(TAILS))
    elif draw(st.booleans()):
        written += "\n" + closer[: len(closer) - 1]
    if draw(st.booleans()):
        end = None if end is None else end + written[:end].count("\n")
        written = written.replace("\n", "\r\n")
    if draw(st.booleans()):
        end = None if end is None else end + 1
        written = "\ufeff" + written
    return Made(written, (shown + prefix).strip(), code, end)


def fed(text: str, sizes: Sequence[int]) -> tuple[FenceScanner, int]:
    """The scanner after the text came in pieces of these sizes, and how many characters it took."""
    scanner, at, turn = FenceScanner(), 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        if scanner.feed(text[at : at + size]):
            return scanner, at + size
        at, turn = at + size, turn + 1
    return scanner, at


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=20)


@settings(max_examples=500, deadline=None)
@given(made=replies(), sizes=SIZES)
def test_thought_and_action_of_any_reply_however_it_is_split(made: Made, sizes: Sequence[int]) -> None:
    scanner, _ = fed(made.text, sizes)
    reply = scanner.read()
    assert reply.code == made.code
    compile(reply.code, "<reply>", "exec")
    assert reply.thought == made.thought
    assert scanner.is_complete == (made.end is not None)
    assert "evil" not in scanner.text[: reply.end]


@settings(max_examples=200, deadline=None)
@given(made=replies())
def test_an_action_is_complete_exactly_when_its_closing_marks_are_read(made: Made) -> None:
    scanner, taken = fed(made.text, [1])
    assert scanner.is_complete == (made.end is not None)
    assert taken == (len(made.text) if made.end is None else made.end)


FRAGMENTS = (
    "` `` ``` ```` ~~~ ```python ```json ```md py ' \" ''' \"\"\" \\ # < <code> </code> <think> </think> <thinking> "
    '</reasoning> [PYTHON] [/PYTHON] <|python_tag|> { } {"code": :"x()"} Thought: Code: print(1) x= ( '
    "é \ufffd \ufeff \ud83d \x00"
).split()
TEXTS = st.lists(st.sampled_from([*FRAGMENTS, "\n", "\n", "\n", " ", "\r\n", "\t"]), max_size=40).map("".join)


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS | st.text(max_size=200), sizes=SIZES)
def test_no_text_raises_and_none_is_read_otherwise_in_pieces(text: str, sizes: Sequence[int]) -> None:
    whole, parts = FenceScanner(), fed(text, sizes)[0]
    assert whole.feed(text) == parts.is_complete
    assert whole.read() == parts.read() if whole.is_complete else whole.read().code == parts.read().code
    assert 0 <= parts.read().end <= len(parts.text)
    assert parts.read() == parts.read(), "reading changes nothing"
    calls_in(text), code_in_json(text), without_reasoning(text)


@settings(max_examples=300, deadline=None)
@given(
    before=st.sampled_from(["", '<think>{} {"code": "no()"}</think>', "Here: {x} ", "{x}.\n</think>\n", "```json\n"]),
    thought=st.text(max_size=20),
    code=st.sampled_from(CODE),
    after=st.sampled_from(["", "\n```", ' {"code": "evil()"}']),
    sizes=SIZES,
)
def test_a_json_reply_is_complete_with_its_object(
    before: str, thought: str, code: str, after: str, sizes: Sequence[int]
) -> None:
    written = before + json.dumps({"thought": thought, "code": code}, ensure_ascii=False)
    scanner, at = JsonScanner(), 0
    for turn in range(len(written + after)):
        size = sizes[turn % len(sizes)]
        at += size
        if scanner.feed((written + after)[at - size : at]):
            break
    assert scanner.is_complete
    assert at - size < len(written) <= at, "neither before nor after"
    assert scanner.read() == Reply(thought, code.strip("\n"), len(written))


@pytest.mark.parametrize(
    ("text", "thought", "code"),
    [
        ('{"thought": "Add.", "code": "print(1 + 1)"}', "Add.", "print(1 + 1)"),
        ('```json\n{"thought": "Add.", "code": "print(1 + 1)"}\n```', "Add.", "print(1 + 1)"),
        ('<think>{"code": "no()"}</think>\n{"code": "print(1)"}', "", "print(1)"),
        ('<tool_call>\n{"name": "python", "arguments": {"code": "print(1)"}}\n</tool_call>', "", "print(1)"),
        ('{"code": "E42", "message": "Not found"}', '{"code": "E42", "message": "Not found"}', None),
        ('{"code": "E42"}', '{"code": "E42"}', None),
        ('The server said {"code": "print(1)"}.', 'The server said {"code": "print(1)"}.', None),
    ],
)
async def test_json_where_markdown_was_asked_for(text: str, thought: str, code: str | None) -> None:
    messages = [Message("user", "Go.")]
    asked = StreamedReply(ScriptedModel(text), Memory(messages), Sampling(), FenceScanner())
    async for _ in asked.pieces(ScriptedModel(text).stream(messages, Sampling())):
        pass
    assert Markdown().read(asked) == Reply(thought, code, len(text))


def test_calls_that_a_model_only_thinks_of_are_none() -> None:
    text = '<think>{"name": "no", "arguments": {}}</think>\n{"name": "add", "arguments": {"a": 1}}'
    assert [call.name for call in calls_in(text)] == ["add"]
    assert calls_in(text.partition("</think>")[0]) == []


NASTY = {
    "backticks": "`", "tildes": "~", "quotes": "'\"", "blanks": " ", "backslashes": "\\", "braces": '{"}',
    "tags": "<code>", "fences": "```json\n", "nested": "```md\n", "bare": "```\n", "spans": "``` a ` ",
    "ends of reasoning": "a</think>", "reasoning": "<think></think>", "empty blocks": "<code></code>\n",
    "lines": "x = 1  # it's\n", "open": "<think",
}  # fmt: skip
BEGINNINGS = {"prose": "", "code": "```python\n", "string": "```python\nx = '''", "json": '{"code": "'}


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("unit", NASTY)
def test_reading_takes_as_long_as_the_reply_is(unit: str, beginning: str) -> None:
    def cost(size: int) -> float:
        """Seconds of the processor for a reply of so many characters, three at a time."""
        text = BEGINNINGS[beginning] + NASTY[unit] * (size // len(NASTY[unit]))
        reading = JsonScanner() if beginning == "json" else FenceScanner()
        begun = time.process_time()
        for at in range(0, len(text), 3):
            reading.feed(text[at : at + 3])
        reading.read()
        return time.process_time() - begun

    # Eight times as much takes eight times as long; it would take sixty-four times, if each piece were read from the
    # beginning again. What is complete early takes no time worth measuring.
    size = 25_000 if unit == "backticks" else 8_000
    small = max(min(cost(size) for _ in range(3)), 0.004)
    assert min(cost(8 * size) for _ in range(2)) < 24 * small


# ---- from real connections ------------------------------------------------------------------------------------------

REPLY = "Thought: Hé 你.\n```python\nfinal_answer('é你🎉')\n```"


@asynccontextmanager
async def bytes_from_server(pieces: Sequence[bytes]) -> AsyncIterator[LiteLLMModel]:
    """A model whose server sends these bytes, each by itself, as the body of a stream, and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.lower().splitlines() if line.startswith("content-length"))
        await reader.readexactly(int(length.partition(":")[2]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield LiteLLMModel("openai/x", api_base=f"http://{host}:{port}/v1", api_key="k", retries=0)


def as_stream(*deltas: str, finish: str = "stop") -> bytes:
    """The body of a stream with these pieces of text, in plain UTF-8."""
    frame = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    choices: list[dict[str, object]] = [
        {"index": 0, "delta": {"content": delta}, "finish_reason": None} for delta in deltas
    ]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    lines = [json.dumps({**frame, "choices": [choice]}, ensure_ascii=False) for choice in choices]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


async def heard(model: LiteLLMModel) -> str:
    return "".join(
        [part.text async for part in model.stream([Message("user", "Go.")], Sampling()) if isinstance(part, Text)]
    )


async def test_characters_that_arrive_byte_by_byte_are_whole() -> None:
    body = as_stream(*REPLY)
    async with bytes_from_server([body[at : at + 1] for at in range(len(body))]) as model:
        text = await heard(model)
    assert text == REPLY
    assert fed(text, [1])[0].read().code == "final_answer('é你🎉')"


async def test_half_a_character_at_the_end_of_the_stream_is_an_error_in_one_line() -> None:
    body = as_stream("Thought: Hé")
    broken = body[: body.index("é".encode()) + 1]
    async with bytes_from_server([broken]) as model:
        with pytest.raises(ModelError) as error:
            await heard(model)
    assert "\n" not in str(error.value)


async def test_characters_that_the_provider_broke_are_text_like_any_other() -> None:
    async with bytes_from_server(
        [as_stream("Thought: \ufffd\ufffd.\n```python\nfinal_answer('\ufffd')\n", "```")]
    ) as model:
        text = await heard(model)
    assert fed(text, [2])[0].read() == Reply("\ufffd\ufffd.", "final_answer('\ufffd')", len(text))


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path)
    yield kernel
    await kernel.close()


async def test_reasoning_that_the_provider_sends_beside_the_reply_is_kept_apart(sandbox: ChildKernel) -> None:
    async with FakeProvider("reasoning") as provider:
        model = LiteLLMModel("openai/x", api_base=provider.base_url, api_key="k")
        parts = [part async for part in model.stream([Message("user", "Go.")], Sampling())]
        agent = CodeAgent(model, sandbox=sandbox, journal=None)
        events = [event async for event in agent.stream("Multiply.")]
    assert [part.text for part in parts if isinstance(part, Reasoning)] == ["Six times seven."]
    assert [event.reasoning for event in events if isinstance(event, ReplyReceived)] == ["Six times seven."]
    assert "Six times seven" not in "".join(event.text for event in events if isinstance(event, ReplyDelta))
    assert agent.memory
    assert all("Six times seven" not in message.content for message in agent.memory.messages)


async def test_a15_what_follows_the_first_action_is_not_generated(sandbox: ChildKernel) -> None:
    action = "Thought: Multiply.\n```python\nfinal_answer(6 * 7)\n```"
    more = 10_000
    # 6 characters are a token here, 100 tokens a second: as fast as hosted models are.
    async with FakeProvider(reply=action + "\nAnd on" + " more " * more, pace=0.01) as provider:
        model = LiteLLMModel("openai/x", api_base=provider.base_url, api_key="k")
        run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Multiply.")
        await asyncio.wait_for(provider.closed_early.wait(), 5)
        sent = provider.pieces_sent
        await asyncio.sleep(0.3)
        assert provider.pieces_sent == sent, "nothing is generated after the connection is closed"
    needed = -(-len(action) // 6)
    assert run.answer == 42
    assert needed <= sent <= needed + 50, f"{sent - needed} of {more} tokens were generated after the action"
    reply = run.steps[0].reply
    assert reply
    assert (reply.text, reply.cut) == (action, True)
    assert reply.usage.estimated
    assert reply.usage.completion < 40


# ---- without an action ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "example"),
    [
        (Markdown(), "```python\nfinal_answer(6 * 7)\n```"),
        (JsonReply(), '{"thought": "Compute it and answer.", "code": "final_answer(6 * 7)"}'),
        (PythonCall(), '{"name": "python", "arguments": {"code": "final_answer(6 * 7)"}}'),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ReplyFormat) else "",
)
async def test_a_reply_without_an_action_is_told_so_with_an_example(
    sandbox: ChildKernel, form: ReplyFormat, example: str
) -> None:
    model = ScriptedModel("Hm, it is 41.", "No, it is 42.", "It is 42.", "never asked for")
    agent = CodeAgent(model, sandbox=sandbox, journal=None, reply_format=form)
    run = await agent.run("What?")
    assert len(model.asked) == 3
    assert all(example in request[-1].content for request in model.asked[1:])
    assert [message.content for message in model.asked[2]].count("Hm, it is 41.") == 1
    assert (run.status, run.answer) == ("failed", "It is 42.")
    assert run.answered
    assert not run.answered.confirmed
    assert all(isinstance(step.finished, NoAction) for step in run.steps)


async def test_a_tool_calling_agent_is_told_so_too() -> None:
    model = ScriptedModel("Hm, it is 41.", "No, it is 42.", "It is 42.", "never asked for")
    run = await ToolCallingAgent(model, journal=None).run("What?")
    assert len(model.asked) == 3
    example = '{"name": "final_answer", "arguments": {"answer": 42}}'
    assert all(example in request[-1].content for request in model.asked[1:])
    assert (run.status, run.answer) == ("failed", "It is 42.")
    assert run.answered
    assert not run.answered.confirmed


@pytest.mark.parametrize("form", [Markdown(), JsonReply(), PythonCall()], ids=lambda form: type(form).__name__)
async def test_the_example_itself_is_an_action(sandbox: ChildKernel, form: ReplyFormat) -> None:
    said = form.no_code.partition("e.g.\n")[2]
    run = await CodeAgent(ScriptedModel(said), sandbox=sandbox, journal=None, reply_format=form).run("What?")
    assert (run.status, run.answer) == ("success", 42)


async def test_only_replies_in_a_row_count(sandbox: ChildKernel) -> None:
    action = "Go.\n```python\nprint(1)\n```"
    model = ScriptedModel("Hm.", "Hm.", action, "Hm.", "Hm.", "Go.\n```python\nfinal_answer(2)\n```")
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("What?")
    assert (run.status, run.answer, len(run.steps)) == ("success", 2, 6)


async def test_a_block_in_another_language_is_not_called_cut_off(sandbox: ChildKernel) -> None:
    model = ScriptedModel('```json\n{"a": 1}\n```')
    await CodeAgent(model, sandbox=sandbox, journal=None).run("What?")
    assert "had no Python code block" in model.asked[1][-1].content


async def test_reasoning_is_no_part_of_the_answer_candidate(sandbox: ChildKernel) -> None:
    model = ScriptedModel("<think>\nHm.\n</think>\nIt is 42.")
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("What?")
    assert run.answer == "It is 42."
