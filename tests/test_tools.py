"""Tools: what the model is told comes from the function; wrong calls are refused by name; results are plain data."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
from pydantic import BaseModel

from cellwright.errors import JournalError, ToolCallError, ToolDefinitionError, UsageError
from cellwright.tools import Tool, collect, tool


@dataclass
class Place:
    city: str
    country: str = "Norway"


class Stay(BaseModel):
    place: str
    nights: int


def search(query: str, limit: int = 10, order: Literal["new", "old"] = "new", tag: Optional[str] = None) -> list[str]:  # noqa: UP045
    """Search the archive.

    Args:
        query: What to look for.
        limit: Hits at most.
    """
    return [f"{query}-{order}-{tag}"] * limit


def test_b1_the_model_is_told_schema_signature_and_meaning() -> None:
    facts = Tool(search).facts
    assert facts.name == "search"
    assert facts.description.splitlines()[0] == "Search the archive."
    assert "limit: Hits at most." in facts.description
    assert facts.parameters["required"] == ["query"]
    properties = facts.parameters["properties"]
    assert properties["query"] == {"title": "Query", "type": "string", "description": "What to look for."}
    assert properties["limit"]["default"] == 10
    assert properties["order"]["enum"] == ["new", "old"]
    assert {"type": "null"} in properties["tag"]["anyOf"]
    assert facts.signature.startswith("search(query: str, limit: int = 10, order: Literal['new', 'old'] = 'new', tag: ")
    assert facts.signature.endswith("-> list[str]")


async def test_b1_defaults_literals_and_optional_arguments() -> None:
    made = Tool(search)
    assert await made("a", 2) == ["a-new-None"] * 2
    assert await made("a", limit=1, order="old", tag="t") == ["a-old-t"]


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        (("a", "many"), {}, "argument limit"),
        (("a",), {"order": "best"}, "argument order"),
        (((1, 2),), {}, "argument query"),
        ((), {}, "missing a required argument: 'query'"),
        (("a",), {"where": 1}, "unexpected keyword argument 'where'"),
    ],
)
async def test_b1_a_wrong_call_is_refused_and_the_argument_named(
    args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(ToolCallError) as error:
        await Tool(search)(*args, **kwargs)
    assert said in str(error.value)
    assert str(error.value).startswith("search: ")
    assert "\n" not in str(error.value)


async def test_b1_dataclasses_and_pydantic_models_arrive_as_such_and_leave_as_data() -> None:
    @tool
    def book(place: Place, stay: Stay, day: date) -> Stay:
        """Book a stay."""
        assert isinstance(place, Place)
        assert isinstance(stay, Stay)
        return Stay(place=f"{place.city}, {place.country}, {day:%Y}", nights=stay.nights + 1)

    result = await book({"city": "Bergen"}, {"place": "x", "nights": 2}, "2026-05-01")
    assert result == {"place": "Bergen, Norway, 2026", "nights": 3}
    with pytest.raises(ToolCallError, match=r"argument stay\.nights"):
        await book({"city": "Bergen"}, {"place": "x", "nights": "few"}, "2026-05-01")


def google(a: int) -> int:
    """Double it.

    Args:
        a: The number.
    """
    return 2 * a


def numpy(a: int) -> int:
    """Double it.

    Parameters
    ----------
    a : int
        The number.
    """
    return 2 * a


def rest(a: int) -> int:
    """Double it.

    :param a: The number.
    """
    return 2 * a


@pytest.mark.parametrize("function", [google, numpy, rest])
def test_b1_three_ways_to_write_a_docstring_say_the_same(function: Callable[..., Any]) -> None:
    facts = Tool(function).facts
    assert facts.parameters["properties"]["a"]["description"] == "The number."
    assert facts.description == "Double it.\na: The number."


async def test_b1_async_tools_are_awaited_and_sync_ones_do_not_block() -> None:
    @tool
    async def slow() -> str:
        """Wait."""
        await asyncio.sleep(0)
        return "async"

    @tool
    def here() -> bool:
        """Say whether this is the main thread."""
        return threading.current_thread() is threading.main_thread()

    assert await slow() == "async"
    assert await here() is False


async def test_b1_a_tool_that_raises_says_so_in_one_line() -> None:
    @tool
    def bad() -> None:
        """Fail."""
        raise ValueError("first\nsecond")

    with pytest.raises(ToolCallError) as error:
        await bad()
    assert str(error.value) == "bad failed: ValueError: first second"


async def test_b1_a_result_without_a_json_form_is_refused() -> None:
    @tool
    def thing() -> object:
        """Return an object."""
        return object()

    with pytest.raises(ToolCallError, match="returned a object, which has no JSON form"):
        await thing()


def no_docstring(a: int) -> int:
    return a


def no_hint(a) -> int:  # type: ignore[no-untyped-def]
    """Say."""
    return 1


def star(*args: int) -> int:
    """Say."""
    return 1


def stars(**more: int) -> int:
    """Say."""
    return 1


def wrong_name(a: int) -> int:
    """Say.

    Args:
        b: Not there.
    """
    return a


def no_schema(a: threading.Thread) -> int:
    """Say."""
    return 1


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_docstring, "needs a docstring"),
        (no_hint, "argument a needs a type hint"),
        (star, r"\*args can't be described"),
        (stars, r"\*more can't be described"),
        (wrong_name, "describes b, which is no argument"),
        (no_schema, "Tool no_schema: "),
    ],
)
def test_b1_what_makes_no_tool_is_said_in_one_line(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(ToolDefinitionError, match=said) as error:
        Tool(function)
    assert "\n" not in str(error.value)


def test_b1_names() -> None:
    assert tool(name="find", description="Find it.")(no_docstring).facts.description == "Find it."
    for bad in ("final_answer", "for", "two words"):
        with pytest.raises(ToolDefinitionError, match="free Python name"):
            Tool(google, name=bad)
    with pytest.raises(ToolDefinitionError, match="Two tools are called 'google'"):
        collect([google, Tool(google)])
    assert list(collect([google, rest])) == ["google", "rest"]


# ---- progress, time, threads --------------------------------------------------------------------------------------


async def test_b1_what_a_tool_yields_is_progress_and_what_it_returns_or_yields_last_is_its_result() -> None:
    @tool
    def returns(n: int) -> Generator[str, None, int]:
        """Count."""
        for i in range(n):
            yield f"{i + 1} of {n}"
        return n * 10

    @tool
    def yields(n: int) -> Iterator[str | int]:
        """Count."""
        yield "begun\nto count"
        yield n

    @tool
    async def later(n: int) -> AsyncIterator[str | list[int]]:
        """Count, later."""
        yield "begun"
        await asyncio.sleep(0)
        yield [n]

    @tool
    def nothing() -> Iterator[str]:
        """Yield nothing."""
        yield from ()

    told: list[str] = []
    assert await returns.call((3,), {}, told.append) == 30
    assert await yields.call((), {"n": 3}, told.append) == 3
    assert await later.call((3,), {}, told.append) == [3]
    assert await nothing.call((), {}, told.append) is None
    assert told == ["1 of 3", "2 of 3", "3 of 3", "begun to count", "begun"]
    assert await returns(2) == 20  # nobody need listen
    assert returns.facts.signature == "returns(n: int) -> int"
    assert yields.facts.signature == "yields(n: int) -> str | int"


async def test_b1_progress_is_told_while_the_tool_works_and_heard_before_it_goes_on_record() -> None:
    go = threading.Event()

    @tool
    def work() -> Iterator[str]:
        """Work."""
        yield "waiting"
        assert go.wait(10)
        yield "done " + "x" * 1000

    told: list[str] = []

    async def hear(text: str) -> None:
        await asyncio.sleep(0.01)
        told.append(text)
        go.set()

    result = await work.call((), {}, hear)
    assert told[0] == "waiting"
    assert len(told[1]) == 200
    assert len(str(result)) == 1005


async def test_b1_a_listener_that_fails_is_not_the_tools_fault() -> None:
    @tool
    def work() -> Iterator[str]:
        """Work."""
        yield "one"

    def hear(text: str) -> None:
        raise JournalError("The disk is full.")

    with pytest.raises(JournalError, match="The disk is full"):
        await work.call((), {}, hear)


async def test_b1_a_tool_that_takes_too_long_is_given_up_in_one_line() -> None:
    cancelled = asyncio.Event()
    stopped = threading.Event()

    @tool(seconds=0.2)
    async def slow() -> None:
        """Wait."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    @tool(seconds=0.2)
    def stuck() -> None:
        """Wait."""
        time.sleep(3)

    @tool(seconds=0.2)
    def chatty() -> Iterator[str]:
        """Talk."""
        try:
            while True:
                time.sleep(0.02)
                yield "still here"
        finally:
            stopped.set()

    for made in (slow, stuck, chatty):
        begun = time.monotonic()
        with pytest.raises(ToolCallError) as error:
            await made()
        assert str(error.value) == f"{made.name} took longer than the 0.2 s it may, and was given up."
        assert time.monotonic() - begun < 1.0
    assert cancelled.is_set()
    assert await asyncio.to_thread(stopped.wait, 5)


async def test_b1_a_tools_own_timeout_is_its_own_failure() -> None:
    @tool(seconds=60)
    async def impatient() -> None:
        """Wait."""
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    with pytest.raises(ToolCallError, match=r"^impatient failed: TimeoutError$"):
        await impatient()


async def test_b1_a_cancelled_call_ends_at_once_and_async_tools_see_it() -> None:
    @tool
    def stuck() -> None:
        """Wait."""
        time.sleep(3)

    begun = time.monotonic()
    call = asyncio.create_task(stuck())
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - begun < 1.0


def test_b1_a_tool_that_was_given_up_does_not_keep_the_program_from_ending() -> None:
    program = (
        "import asyncio, time\nfrom cellwright.tools import tool\n"
        "@tool(seconds=0.1)\ndef stuck() -> None:\n    'Wait.'\n    time.sleep(120)\n"
        "async def main():\n    for _ in range(50):\n        try: await stuck()\n"
        "        except Exception as error: said = error\n    print(said)\nasyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "stuck took longer than the 0.1 s it may, and was given up.\n"
    assert done.stderr == ""


async def test_b1_fifty_sync_calls_run_side_by_side() -> None:
    @tool
    def slow(n: int) -> int:
        """Wait."""
        time.sleep(0.3)
        return n

    begun = time.monotonic()
    assert list(await asyncio.gather(*(slow(n) for n in range(50)))) == list(range(50))
    assert time.monotonic() - begun < 3.0


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (StopIteration("over"), "failed: RuntimeError: coroutine raised StopIteration"),
        (SystemExit(3), "failed: RuntimeError: SystemExit: 3"),
        (KeyError("k"), "failed: KeyError: 'k'"),
        (ValueError(), "failed: ValueError"),
        (ToolCallError("the archive is closed."), "bad: the archive is closed."),
        (UsageError("No such thing."), "bad: No such thing."),
    ],
)
async def test_b1_whatever_a_tool_raises_is_one_line(raised: BaseException, said: str) -> None:
    @tool
    def bad() -> None:
        """Fail."""
        raise raised

    with pytest.raises(ToolCallError) as error:
        await bad()
    assert str(error.value).removeprefix("bad ") == said


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (b"\xff", "'utf-8' codec can't decode"),
        (threading.Lock(), "a lock, which has no JSON form"),
        ({"a": [{1, 2}, object()]}, "a object, which has no JSON form"),
    ],
)
async def test_b1_results_that_do_not_cross_are_said_in_one_line(result: Any, said: str) -> None:
    with pytest.raises(ToolCallError) as error:
        await Tool(lambda: result, name="give", description="Give.")()
    assert said in str(error.value)
    assert str(error.value).endswith("; let it return plain data.")


async def test_b1_a_result_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ToolCallError, match="Circular reference"):
        await Tool(lambda: endless, name="give", description="Give.")()


# ---- classes --------------------------------------------------------------------------------------------------------


class Multiply(Tool):
    """For people: by is the factor. For the model speaks the docstring of `forward`."""

    name = "multiply"

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def forward(self, number: int) -> int:
        """Multiply a number.

        Args:
            number: What to multiply.
        """
        return number * self.by


class HFModelDownloadsTool(Tool):
    name = "model_download_counter"
    description = "Returns the most downloaded model of a task."
    inputs = {  # noqa: RUF012 - as smolagents' documentation writes it
        "task": {"type": "string", "description": "The task category."},
        "limit": {"type": "integer", "description": "How many.", "nullable": True},
        "order": {"type": "string", "description": "Which first.", "enum": ["new", "old"], "nullable": True},
        "id": {"type": ["string", "integer"], "description": "Name or number."},
    }
    output_type = "string"

    def forward(self, task, limit=None, order=None, id=0):  # type: ignore[no-untyped-def]
        return f"{task} {limit} {order} {id}"


async def test_b1_a_class_with_forward_is_a_tool() -> None:
    made = Multiply(7)
    assert await made("6") == 42
    assert made.facts.signature == "multiply(number: int) -> int"
    assert made.facts.description == "Multiply a number.\nnumber: What to multiply."
    assert made.description == "Multiply a number."
    assert collect([made]) == {"multiply": made}
    made.description = "Multiply by seven."
    assert made.facts.description == "Multiply by seven.\nnumber: What to multiply."
    with pytest.raises(ToolDefinitionError, match="Multiply is no tool: give a function, or an instance of a class"):
        collect([Multiply])
    with pytest.raises(ToolDefinitionError, match="Tool is no tool"):
        Tool()


async def test_b1_a_class_as_smolagents_has_it_works_unchanged() -> None:
    made = HFModelDownloadsTool()
    facts = made.facts
    assert facts.signature == (
        "model_download_counter(task: str, limit: int | None = None, order: Literal['new', 'old'] | None = None, "
        "id: str | int = 0) -> str"
    )
    assert facts.parameters["required"] == ["task"]
    assert facts.parameters["properties"]["order"]["description"] == "Which first."
    assert await made("text", 3, "old") == "text 3 old 0"
    with pytest.raises(ToolCallError, match="argument order: expected 'new' or 'old', got 'best'"):
        await made("text", order="best")
    with pytest.raises(ToolCallError, match="argument limit: expected a valid integer, got 'x'"):
        await made("text", "x")


async def test_b1_setup_is_done_once_by_the_first_call_and_again_when_it_failed() -> None:
    class Heavy(Tool):
        """Load, then say."""

        name = "heavy"
        times = 0

        async def setup(self) -> None:
            await asyncio.sleep(0.05)
            Heavy.times += 1
            if Heavy.times == 1:
                raise OSError("no such file")

        async def forward(self) -> int:
            return Heavy.times

    made = Heavy()
    assert Heavy.times == 0
    with pytest.raises(ToolCallError, match=r"^heavy failed: OSError: no such file$"):
        await made()
    assert list(await asyncio.gather(made(), made(), made())) == [2, 2, 2]


async def test_b1_a_class_may_have_its_time_and_its_progress() -> None:
    class Slow(Tool):
        """Wait.

        Of a class without a word at `forward`, the first line is what the model reads.
        """

        name = "slow"
        seconds = 0.1

        async def forward(self, wait: float) -> AsyncIterator[str]:
            yield "waiting"
            await asyncio.sleep(wait)
            yield "done"

    told: list[str] = []
    with pytest.raises(ToolCallError, match=r"slow took longer than the 0\.1 s"):
        await Slow().call((60,), {}, told.append)
    assert told == ["waiting"]
    assert Slow().facts.description == "Wait."
    assert await Slow(seconds=5).call((0.2,), {}, told.append) == "done"


def test_b1_final_answer_is_always_there() -> None:
    with pytest.raises(ToolDefinitionError, match=r"final_answer is always there.*leave it out"):
        Tool(google, name="final_answer")


async def test_b1_the_documentation_says_what_is_so() -> None:
    text = (Path(__file__).parents[1] / "docs" / "tools.md").read_text(encoding="utf-8")
    ours, _, _ = text.partition("## MCP servers")  # what follows needs servers, and has tests of its own
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", ours, re.MULTILINE | re.DOTALL))
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(compile(code, "tools.md", "exec"), names)
    told: list[str] = []
    assert await names["convert"]("3", "NOK") == 30.0
    with pytest.raises(ToolCallError) as error:
        await names["convert"](1, "SEK")
    assert f"```\n{error.value}\n```" in text
    assert await names["count_rows"].call((["ab", "c"],), {}, told.append) == 3
    assert told == ["1 of 2: ab", "2 of 2: c"]
    assert await names["Multiply"](6)(7) == 42
    handle = await names["log_in"]("me")
    assert re.fullmatch(r"<secret \w{12}>", handle)
    assert await names["unread"](handle) == len("the session's token")
    assert [made.name for made in names["tools"]] == ["web_search", "visit_webpage"]
    assert not names["inside"].web.allows("10.2.0.1")
