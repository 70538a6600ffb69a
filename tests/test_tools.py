"""Tools: what the model is told comes from the function; wrong calls are refused by name; results are plain data."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Optional

import pytest
from pydantic import BaseModel

from cellwright.errors import ToolCallError, ToolDefinitionError
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


def test_the_model_is_told_schema_signature_and_meaning() -> None:
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


async def test_defaults_literals_and_optional_arguments() -> None:
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
async def test_a_wrong_call_is_refused_and_the_argument_named(
    args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(ToolCallError) as error:
        await Tool(search)(*args, **kwargs)
    assert said in str(error.value)
    assert str(error.value).startswith("search: ")
    assert "\n" not in str(error.value)


async def test_dataclasses_and_pydantic_models_arrive_as_such_and_leave_as_data() -> None:
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
def test_three_ways_to_write_a_docstring_say_the_same(function: Callable[..., Any]) -> None:
    facts = Tool(function).facts
    assert facts.parameters["properties"]["a"]["description"] == "The number."
    assert facts.description == "Double it.\na: The number."


async def test_async_tools_are_awaited_and_sync_ones_do_not_block() -> None:
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


async def test_a_tool_that_raises_says_so_in_one_line() -> None:
    @tool
    def bad() -> None:
        """Fail."""
        raise ValueError("first\nsecond")

    with pytest.raises(ToolCallError) as error:
        await bad()
    assert str(error.value) == "bad failed: ValueError: first second"


async def test_a_result_without_a_json_form_is_refused() -> None:
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
def test_what_makes_no_tool_is_said_in_one_line(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(ToolDefinitionError, match=said) as error:
        Tool(function)
    assert "\n" not in str(error.value)


def test_names() -> None:
    assert tool(name="find", description="Find it.")(no_docstring).facts.description == "Find it."
    for bad in ("final_answer", "for", "two words"):
        with pytest.raises(ToolDefinitionError, match="free Python name"):
            Tool(google, name=bad)
    with pytest.raises(ToolDefinitionError, match="Two tools are called 'google'"):
        collect([google, Tool(google)])
    assert list(collect([google, rest])) == ["google", "rest"]
