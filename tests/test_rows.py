"""`docs/features.md`: what a row promises has a test named after it and is written down where the row says.

The tests of row A5 begin with `test_a5_`. What a row lacks is said in its status.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from cellwright import CodeAgent, ScriptedModel, ToolCallingAgent
from cellwright.facts import ToolUse

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PAGE = ROOT / "docs" / "features.md"
STATUS = ("there", "in part", "not yet")


@dataclass(frozen=True)
class Row:
    name: str
    promise: str
    documented: str
    status: str


@cache
def rows() -> dict[str, Row]:
    lines = re.findall(r"^\| ([A-G]\d+) \|(.*)\|(.*)\|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: Row(name, *(cell.strip() for cell in cells)) for name, *cells in lines}


@cache
def rows_with_tests() -> frozenset[str]:
    """The rows that tests, or classes of tests, are named after."""
    found = set()
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (
                match := re.match(r"test_([a-g]\d+)_\w|Test([A-G]\d+)[A-Z]", node.name)
            ):
                found.add((match[1] or match[2]).upper())
    return frozenset(found)


def slugs(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them from its headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_row_is_on_the_page_once() -> None:
    most = {"A": 15, "B": 6, "C": 7, "D": 10, "E": 9, "F": 7, "G": 6}
    wanted = [f"{letter}{number}" for letter, count in most.items() for number in range(1, count + 1)]
    assert re.findall(r"^\| ([A-G]\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE) == wanted


@pytest.mark.parametrize("name", rows())
def test_a_row_is_tested_and_documented_or_said_to_be_missing(name: str) -> None:
    row = rows()[name]
    word = next((status for status in STATUS if row.status.startswith(status)), "")
    assert word, f"the status of {name} is one of {STATUS}"
    links = re.findall(r"\]\(([^)]+)\)", row.documented)
    if word == "not yet":
        assert not links, f"{name} is documented; is it not there?"
        return
    assert name in rows_with_tests(), f"no test is named test_{name.lower()}_..."
    assert links, f"{name} is documented nowhere"
    assert word == "there" or row.status.removeprefix("in part").strip(" :"), f"{name} does not say what is missing"
    for link in links:
        target, _, anchor = link.partition("#")
        page = (PAGE.parent / target).resolve() if target else PAGE
        assert page.is_file(), link
        assert not anchor or anchor in slugs(page), link


def test_no_test_is_named_after_a_row_that_there_is_not() -> None:
    assert rows_with_tests() <= rows().keys()


async def test_the_examples_of_the_page_do_what_they_say() -> None:
    codes = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"__name__": "features"}
    for code in codes:
        model = ScriptedModel("Answer.\n```python\nfinal_answer(42)\n```")
        calls = ScriptedModel([ToolUse("c1", "final_answer", '{"answer": 42}')])
        names |= {"model": calls if "ToolCallingAgent(" in code else model}
        made = eval(compile(code, "features.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if made is not None:
            await made
    for value in names.values():
        if isinstance(value, CodeAgent | ToolCallingAgent):
            await value.aclose()
    assert len(codes) >= 8
