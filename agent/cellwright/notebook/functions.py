"""Steps of an agent that calls functions by itself, as cells that run again and show the same.

On record its calls stand as Python, and what came of them was shown by the host, in the order in which calls ended. In
the notebook a result of an earlier step is a variable, what was shown stands in the order of the calls, and the
stand-in of a tool shows its part of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from ..events import Output, ToolCalled
from ..observations import as_text
from ..outputs import CellOutput, Stream, show
from ..run import Run, Step

_RESULT = re.compile(r"result_(\d+) = ")


Shown = Sequence[tuple[ToolCalled, str | None]]
"""Calls that a re-execution makes again; the text is what the stand-in shows, None where code called it."""


def calls_functions(run: Run) -> bool:
    """Whether the run is one of an agent that runs no code."""
    return bool(run.started and run.started.sandbox and run.started.sandbox.kind == "none")


def as_python(code: str, known: Iterable[str], failed: Iterable[str]) -> str:
    """The calls as they are made again.

    known: names of earlier results; where the model wrote one, it meant the result. failed: names that these calls
    would have given; what stood under such a name before stays.
    """
    names, without = set(known), set(failed)
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):  # arguments whose names are none of Python's
        return code
    lines: list[ast.stmt] = []
    for line in tree.body:
        is_dropped = isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) in without
        lines.append(ast.Expr(line.value) if is_dropped and isinstance(line, ast.Assign) else line)
        for keyword in (node for node in ast.walk(line) if isinstance(node, ast.keyword)):
            value = keyword.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value in names:
                keyword.value = ast.Name(value.value, ast.Load())
    return "\n".join(map(ast.unparse, lines))


def assigned(code: str) -> set[str]:
    """The names that the calls give to their results."""
    return {f"result_{number}" for number in re.findall(r"^result_(\d+) = ", code, re.MULTILINE)}


def failed(calls: Shown) -> set[str]:
    """The names that calls would have given, had they not failed."""
    return {f"result_{found[1]}" for call, text in calls if call.error and (found := _RESULT.match(text or ""))}


def shown(run: Run, step: Step) -> list[CellOutput]:
    """What the step showed, in the order of its calls."""
    outputs: list[CellOutput] = []
    for text in sorted(_texts(run, step), key=_number):
        show(outputs, text)
    return outputs


def texts_of(run: Run, step: Step) -> list[tuple[ToolCalled, str]]:
    """The calls of the step, each with what was shown of it."""
    left = _texts(run, step)
    found = []
    for call in step.calls:
        said = f"Error: {call.error}" if call.error else as_text(call.result)
        end = f" = {call.name}: {said}\n"
        mine = next((text for text in left if text.text.endswith(end)), None)
        if mine:
            left.remove(mine)
        found.append((call, mine.text if mine else ""))
    return found


def _texts(run: Run, step: Step) -> list[Stream]:
    events = (event for event in run.events if isinstance(event, Output) and event.step == step.number)
    return [event.output for event in events if isinstance(event.output, Stream)]


def _number(text: Stream) -> int:
    found = _RESULT.match(text.text)
    return int(found[1]) if found and len(found[1]) < 9 else 0
