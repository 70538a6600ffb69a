"""Catches data that the model made up, and a model that goes round in circles.

Small models like to write a table or a value down from memory when the task names a file or a variable that is right
there. Such code runs without error and gives a wrong answer, so it is not run; the model is told why. The rule reads
the syntax tree: a literal takes the place of a variable that the task names, or stands in for a file that the task
names and the code ignores. A literal whose parts stand in the task itself was not made up.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .run import Step
    from .sandbox.base import AtHand

_NEUTRAL = {"0", "1", "-1", "0.0", "1.0", "", "True", "False"}
"""Constants with which counters and sums begin."""
MADE_UP_CONSTANTS = 3
"""So many constants that the task does not hold, in one literal, count as made-up data."""


def made_up_data(code: str, task: str, at_hand: AtHand) -> str | None:
    """Why `code` must not run, as an observation for the model; None when nothing speaks against it."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return None  # running it says best what is wrong with it
    names = {variable.name for variable in at_hand.variables if _mentions(task, variable.name)}
    for name, value in _assignments(tree):
        if name in names and _is_made_up(value, task, at_least=1):
            return f"Not run: the variable {name} is already there with its data. Use it; don't write its value down."
    files = [file.name for file in at_hand.files if _mentions(task, file.name)]
    known = {variable.name for variable in at_hand.variables}
    if files and not _uses(tree, code, files, known):
        for node in ast.walk(tree):
            if isinstance(node, ast.expr) and _is_made_up(node, task, at_least=MADE_UP_CONSTANTS):
                return f"Not run: the data must come from the file {files[0]}. Read it; don't write data down."
    return None


def _mentions(task: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", task) is not None


def _assignments(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def _is_made_up(node: ast.expr, task: str, at_least: int) -> bool:
    """True for a literal, or a call of literals such as pd.DataFrame({...}), with constants the task does not hold."""
    if isinstance(node, ast.Call):
        parts: list[ast.expr] = [*node.args, *(keyword.value for keyword in node.keywords)]
        if not any(isinstance(part, ast.Dict | ast.List | ast.Tuple) for part in parts):
            return False
    elif isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set | ast.Constant):
        parts = [node]
    else:
        return False
    if any(isinstance(inner, ast.Name | ast.Subscript) for part in parts for inner in ast.walk(part)):
        return False
    return len(list(_foreign_constants(parts, task))) >= at_least


def _foreign_constants(parts: Iterable[ast.expr], task: str) -> Iterator[str]:
    for part in parts:
        for node in ast.walk(part):
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | bytes):
                text = str(node.value)
                if text.strip() not in _NEUTRAL and text not in task:
                    yield from text.split("\n")


def _uses(tree: ast.AST, code: str, files: Iterable[str], known: set[str]) -> bool:
    if any(file in code or file.rsplit("/", 1)[-1] in code for file in files):
        return True
    return any(isinstance(node, ast.Name) and node.id in known for node in ast.walk(tree))


def same_failures(steps: Sequence[Step], ended: bool = False) -> int:
    """How often in a row, up to now, the same code failed in the same way; `ended`: the last step did just now."""
    last = steps[-1] if steps else None
    if last is None or not (ended or last.outcome in ("error", "denied", "timeout", "died")):
        return 0
    count = 0
    for step in reversed(steps):
        same_error = (step.error and step.error.evalue) == (last.error and last.error.evalue)
        if step.code != last.code or not same_error or (step.outcome == "ok"):
            break
        count += 1
    return count
