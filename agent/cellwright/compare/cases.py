"""A file of tasks with known answers: one JSON object a line.

    {"id": "calc", "task": "What is 37*42/7?", "check": "number", "expect": 222}

check: `number` (the last number of the answer is `expect`, within `near` times its size), `contains` (all texts of the
list `expect` are in the answer, and none of `without`) or `equals` (the answer is the text `expect`, whatever its case
and its full stop).
tools: names of functions that come along (`worlds`). plot: a picture must have been shown. prepare: code that runs
first. The last two are for agents that run code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError, one_line
from ..outputs import Display
from ..run import Run

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

NEAR = 1e-9
"""How far a number may be off, as a part of it, where a task does not say."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A task whose answer is known."""

    id: str
    task: str
    check: Literal["number", "contains", "equals"]
    expect: float | str | tuple[str, ...]
    """A number for `number`, texts for `contains`, a text for `equals`."""
    near: float = NEAR
    """How far a number may be off, as a part of `expect`."""
    without: tuple[str, ...] = ()
    """Texts that must not be in the answer, for `contains`: a list of all names is no answer."""
    tools: tuple[str, ...] = ()
    """Names of functions that come along."""
    plot: bool = False
    """True when a picture must have been shown."""
    prepare: str = ""
    """Code that runs first, and of which the model is not told."""


@dataclass(frozen=True, slots=True)
class Cases:
    """The tasks of one file, and a hash by which its results know it again."""

    cases: tuple[Case, ...]
    sha256: str
    name: str = ""


def read_cases(path: Path) -> Cases:
    """The tasks in a file. Raises `UsageError`, which names the line that is wrong."""
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {one_line(str(error))}.") from error
    cases: dict[str, Case] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        case = _case(line, f"{path}, line {number}")
        if case.id in cases:
            raise UsageError(f"{path}, line {number}: a second task has the id {case.id!r}.")
        cases[case.id] = case
    if not cases:
        raise UsageError(f"There is no task in {path}.")
    return Cases(tuple(cases.values()), hashlib.sha256(content).hexdigest(), path.name)


def is_right(case: Case, run: Run) -> bool:
    """True when the run ended with the expected answer and, where a plot was asked for, has shown one."""
    if run.answered is None or run.status != "success":
        return False
    if case.plot and not any(
        isinstance(output, Display) and "image/png" in output.data for step in run.steps for output in step.outputs
    ):
        return False
    text = str(run.answer)
    if case.check == "contains":
        assert isinstance(case.expect, tuple)
        return all(word in text for word in case.expect) and not any(word in text for word in case.without)
    if case.check == "equals":
        return _folded(text) == _folded(str(case.expect))
    assert isinstance(case.expect, (int, float))
    numbers = _NUMBER.findall(_THOUSANDS.sub("", text.replace("np.float64", "")))
    return bool(numbers) and abs(float(numbers[-1]) - case.expect) <= case.near * max(1.0, abs(case.expect))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .'\"")


def _case(line: str, where: str) -> Case:
    from pydantic import ValidationError

    try:
        said = json.loads(line)
        if not isinstance(said, dict):
            raise UsageError(f"{where}: a task is a JSON object, e.g. {_EXAMPLE}")
        if unknown := sorted(said.keys() - Case.__dataclass_fields__.keys()):
            raise UsageError(f"{where}: there is no {unknown[0]!r}; a task has {', '.join(Case.__dataclass_fields__)}.")
        case = _adapter().validate_python(said)
    except ValidationError as error:
        raise UsageError(f"{where}: {_worded(error)}") from None
    except ValueError as error:
        raise UsageError(f"{where}: this is no JSON: {one_line(str(error))}.") from None
    form = (
        "a text"
        if isinstance(case.expect, str)
        else "a list of texts"
        if isinstance(case.expect, tuple)
        else "a number"
    )
    wanted = {"number": "a number", "contains": "a list of texts", "equals": "a text"}[case.check]
    if form != wanted:
        raise UsageError(f"{where}: with check {case.check!r}, expect must be {wanted}, not {form}.")
    if not case.id.strip() or not case.task.strip():
        raise UsageError(f"{where}: id and task must not be empty.")
    return case


_EXAMPLE = '{"id": "sum", "task": "What is 1 + 2?", "check": "number", "expect": 3}'


def _adapter() -> TypeAdapter[Case]:
    from pydantic import TypeAdapter

    return TypeAdapter(Case)


def _worded(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    place = str(first["loc"][0]) if first["loc"] else "the task"
    said = "is missing" if first["type"] == "missing" else f"is wrong: {first['msg']}"
    return one_line(f"{place} {said}.")


def named(cases: Sequence[Case]) -> set[str]:
    """All functions that the tasks name."""
    return {name for case in cases for name in case.tools}
