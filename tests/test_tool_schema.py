"""Row B1: the schema is pydantic's own for the same signature, and the text that a model reads says the same."""

from __future__ import annotations

import ast
import enum
import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, create_model
from typing_extensions import TypedDict

from cellwright.errors import ToolCallError, ToolDefinitionError
from cellwright.hints import hint_text, result_hint
from cellwright.secrets import Secret
from cellwright.tools import Tool


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclass
class Place:
    city: str
    country: str = "Norway"


class Stay(BaseModel):
    """A stay at a place."""

    place: Place
    nights: int = Field(1, gt=0, description="how many")


class Options(TypedDict, total=False):
    depth: int


class Point(NamedTuple):
    x: float
    y: float


class Node(BaseModel):
    name: str
    children: list[Node] = []


def plain(a: int, b: str, c: float, d: bool) -> None:
    """Say."""


def defaults(a: int = 1, b: str = "x", c: float = 0.5, d: bool = False, e: None = None) -> None:
    """Say."""


def literals(a: Literal["new", "old"], b: Literal[1, 2] = 1, c: Optional[Literal["x"]] = None) -> None:  # noqa: UP045
    """Say."""


def unions(a: int | str, b: Union[list[int], dict[str, int]], c: int | None = None) -> None:
    """Say."""


def nested(a: list[list[int]], b: dict[str, list[Place]], c: tuple[int, str], d: set[int], e: list[Any]) -> None:
    """Say."""


def classes(a: Place, b: Stay, c: Colour, d: Options, *, e: Point, f: Node, g: Stay | Place | None = None) -> None:
    """Say."""


def values(a: date, b: UUID, c: Path, d: bytes, *, e: Any, f: object, g: dict[str, Any]) -> None:
    """Say."""


def constrained(a: Annotated[int, Field(ge=1, le=9)], b: Annotated[str, Field(pattern="^a")] = "a") -> None:
    """Say."""


def fields(
    a: int = Field(3, ge=1),
    b: list[int] = Field(default_factory=list),  # noqa: B008
    c: str = Field("x", title="See"),
) -> None:
    """Say."""


def mutable(a: list[int] = [], b: dict[str, int] = {"x": 1}, c: Place = Place("Oslo")) -> None:  # noqa: B006, B008
    """Say."""


def awkward(json: str, copy: int, model_config: int, _hidden: int, schema: str = "s", validate: bool = True) -> None:
    """Say."""


def by_name(a: int, *, b: str, c: float = 1.0) -> None:
    """Say."""


SIGNATURES = [
    plain, defaults, literals, unions, nested, classes, values, constrained, fields, mutable, awkward, by_name,
]  # fmt: skip


@pytest.mark.parametrize("function", SIGNATURES)
def test_b1_the_schema_is_the_one_that_pydantic_gives_for_the_function(function: Callable[..., Any]) -> None:
    own: Any = function
    assert Tool(function).facts.parameters == TypeAdapter(own).json_schema()


@pytest.mark.parametrize("function", [f for f in SIGNATURES if f is not awkward])
def test_b1_the_schema_is_the_one_of_a_model_with_the_same_fields(function: Callable[..., Any]) -> None:
    import inspect
    from typing import get_type_hints

    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    wanted: dict[str, Any] = {p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in parameters}
    theirs = create_model("Arguments", **wanted).model_json_schema()
    ours = Tool(function).facts.parameters
    assert ours["properties"] == theirs["properties"]
    assert ours.get("required") == theirs.get("required")
    assert ours.get("$defs") == theirs.get("$defs")
    assert ours["additionalProperties"] is False


HINTS = st.recursive(
    st.sampled_from([int, str, float, bool, None, date, Any, Place, Stay, Colour, Secret])
    | st.lists(st.sampled_from(["a", "b'", 'c"', "d.e", 1, 2]), min_size=1, unique=True).map(
        lambda values: Literal[tuple(values)]
    ),
    lambda inner: (
        inner.map(lambda hint: list[hint])  # type: ignore[valid-type]
        | inner.map(lambda hint: dict[str, hint])  # type: ignore[valid-type]
        | inner.map(lambda hint: Optional[hint])  # noqa: UP045
        | st.lists(inner, min_size=1, max_size=3).map(lambda hints: Union[tuple(hints)])
        | st.lists(inner, min_size=1, max_size=3).map(lambda hints: tuple[tuple(hints)])  # type: ignore[misc]
    ),
    max_leaves=6,
)


def in_order(schema: Any) -> Any:
    """The schema with its enums sorted: typing takes Literals that hold the same for one, whatever their order."""
    if isinstance(schema, list):
        return [in_order(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: sorted(item, key=repr) if key == "enum" else in_order(item) for key, item in schema.items()}


@settings(max_examples=150, deadline=None)
@given(HINTS)
def test_b1_any_hint_has_pydantics_schema_and_a_text_that_means_the_hint(hint: Any) -> None:
    def function(a, b=None): ...  # type: ignore[no-untyped-def]

    function.__annotations__ = {"a": hint, "b": Optional[hint]}  # noqa: UP045
    ours = Tool(function, description="Say.").facts.parameters
    theirs = create_model("Arguments", a=(hint, ...), b=(Optional[hint], None)).model_json_schema()  # noqa: UP045
    assert ours["properties"] == theirs["properties"]
    names = {"Literal": Literal, "date": date, "Any": Any, "Place": Place, "Stay": Stay, "Colour": Colour}
    read = eval(hint_text(hint), names | {"Secret": Secret})  # it is source, and means the same
    assert in_order(TypeAdapter(read).json_schema()) == in_order(TypeAdapter(hint).json_schema())


@pytest.mark.parametrize("function", SIGNATURES)
def test_b1_the_signature_is_python(function: Callable[..., Any]) -> None:
    facts = Tool(function).facts
    (made,) = ast.parse(f"def {facts.signature}: pass").body
    assert isinstance(made, ast.FunctionDef)
    assert [argument.arg for argument in made.args.args + made.args.kwonlyargs] == list(facts.parameters["properties"])


def test_b1_the_signature_as_a_model_reads_it() -> None:
    def signature(function: Callable[..., Any]) -> str:
        return Tool(function).facts.signature

    assert signature(literals) == (
        "literals(a: Literal['new', 'old'], b: Literal[1, 2] = 1, c: Literal['x'] | None = None) -> None"
    )
    assert signature(mutable) == (
        "mutable(a: list[int] = [], b: dict[str, int] = {'x': 1}, "
        "c: Place = {'city': 'Oslo', 'country': 'Norway'}) -> None"
    )
    assert signature(constrained) == "constrained(a: int, b: str = 'a') -> None"
    assert signature(fields) == "fields(a: int = 3, b: list[int] = ..., c: str = 'x') -> None"


def test_b1_classes_of_the_host_are_described_as_what_crosses() -> None:
    def book(stay: Stay, colour: Colour = Colour.RED, key: Secret | None = None) -> Node:
        """Book.

        Args:
            stay: Where and how long.

        Returns:
            What was booked.
        """
        return Node(name=stay.place.city)

    assert Tool(book).facts.description.split("\n") == [
        "Book.",
        "stay: Where and how long.",
        "Node is a dict with name: str, children: list[Node] = [].",
        "Colour is one of 'red' | 'green'.",
        "Place is a dict with city: str, country: str = 'Norway'.",
        "Stay is a dict with place: Place, nights: int = 1 (how many).",
        "Returns: What was booked.",
        "Secret is a str that stands for a secret value; only tools can read it.",
    ]
    assert "depth: int (may be left out)" in Tool(classes).facts.description


def test_b1_what_a_function_yields_is_not_its_result() -> None:
    assert result_hint(Generator[str, None, int]) is int
    assert result_hint(Generator[str, None, None]) is str
    assert result_hint(Iterator[str]) is str
    assert result_hint(AsyncIterator[Place]) is Place
    assert result_hint(list[int]) == list[int]


async def test_b1_defaults_arrive_as_the_function_wrote_them_and_are_not_shared() -> None:
    seen: list[Any] = []

    def keep(a: list[int] = [], b: Place = Place("Oslo"), c: int = Field(3, ge=1)) -> None:  # noqa: B006, B008
        """Say."""
        a.append(1)
        seen.append((a, b, c))

    tool = Tool(keep)
    await tool()
    await tool()
    assert seen == [([1], Place("Oslo"), 3)] * 2


WRONG: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (plain, {"a": "many", "b": "", "c": 1, "d": True}, "argument a: expected a valid integer, got 'many' (str)."),
    (plain, {"a": 1, "b": 2, "c": 1, "d": True}, "argument b: expected a valid string, got 2 (int)."),
    (
        plain,
        {"a": 1.5, "b": "", "c": 1, "d": True},
        "argument a: expected a valid integer, got 1.5 (float).",
    ),
    (plain, {"a": None, "b": "", "c": 1, "d": True}, "argument a: expected a valid integer, got None (NoneType)."),
    (literals, {"a": "best"}, "argument a: expected 'new' or 'old', got 'best' (str)."),
    (unions, {"a": [1], "b": []}, "argument a: expected a valid integer or a valid string, got [1] (list)."),
    (unions, {"a": 1, "b": 3}, "argument b: expected a valid list or a valid dictionary, got 3 (int)."),
    (constrained, {"a": 10}, "argument a: expected less than or equal to 9, got 10 (int)."),
    (nested, {"a": [[1], ["x"]], "b": {}, "c": (1, ""), "d": [], "e": []}, "argument a.1.0: expected a valid integer"),
    (nested, {"a": [], "b": {"x": [{}]}, "c": (1, ""), "d": [], "e": []}, "argument b.x.0.city is missing."),
]


@pytest.mark.parametrize(("function", "arguments", "said"), WRONG)
async def test_b1_a_wrong_argument_is_named_with_what_was_expected_and_what_was_got(
    function: Callable[..., Any], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ToolCallError) as error:
        await Tool(function)(**arguments)
    text = str(error.value)
    assert text.startswith(f"{function.__name__}: ")
    assert text.split(": ", 1)[1].startswith(said)
    assert "\n" not in text


async def test_b1_a_union_names_what_is_wrong_in_the_member_that_was_meant() -> None:
    def go(where: Place | list[Place] | str) -> None:
        """Go."""

    with pytest.raises(ToolCallError, match=r"^go: argument where\.0\.city is missing\.$"):
        await Tool(go)([{"country": "Norway"}])
    with pytest.raises(ToolCallError, match=r"^go: argument where\.city: expected a valid string, got 3 \(int\)\.$"):
        await Tool(go)({"city": 3})


@pytest.mark.parametrize("arguments", [{"self": 1}, {"args": 1}, {"kwargs": {}}, {"on_progress": "x"}, {"": 1}])
async def test_b1_no_name_of_an_argument_gets_past_the_check(arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolCallError, match="unexpected keyword argument"):
        await Tool(defaults)(**arguments)


async def test_b1_awkward_names_are_arguments_like_any_other() -> None:
    def say(json: str, copy: int, model_config: int, _hidden: int, self: int = 5) -> list[Any]:
        """Say."""
        return [json, copy, model_config, _hidden, self]

    assert await Tool(say)("a", "2", model_config=3, _hidden=4) == ["a", 2, 3, 4, 5]
    assert await Tool(say)("a", 2, 3, 4, self=6) == ["a", 2, 3, 4, 6]


async def test_b1_arguments_by_name_and_by_place() -> None:
    assert Tool(by_name).facts.signature == "by_name(a: int, *, b: str, c: float = 1.0) -> None"

    def first(a: int, /, b: int) -> int:
        """Subtract."""
        return a - b

    assert await Tool(first)(5, 2) == await Tool(first)(a=5, b=2) == await Tool(first)(5, b="2") == 3


async def test_b1_functions_of_every_kind() -> None:
    class Adder:
        """Add."""

        def __init__(self, by: int) -> None:
            self.by = by

        def __call__(self, a: int) -> int:
            """Add."""
            return a + self.by

        async def later(self, a: int) -> int:
            """Add, later."""
            return a + self.by

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert await Tool(Adder(2), name="add")(1) == 3
    assert await Tool(Adder(2).later)("1") == 3
    assert await Tool(functools.partial(add, b=3), name="add")(1) == 4

    @functools.wraps(add)
    def wrapped(*args: Any, **kwargs: Any) -> int:
        return add(*args, **kwargs)

    assert Tool(wrapped).facts.signature == "add(a: int, b: int) -> int"
    assert await Tool(wrapped)(1, b="2") == 3


def test_b1_what_json_can_not_hold_makes_no_tool() -> None:
    def call(back: Callable[[int], int]) -> None:
        """Call."""

    with pytest.raises(ToolDefinitionError, match=r"^Tool call: "):
        Tool(call)
    with pytest.raises(ToolDefinitionError, match="is no tool: give a function, or an instance"):
        Tool(Place)
