"""The words in which the model is told what is at hand and what came of its code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence

from .events import Outcome, RunStarted
from .facts import ToolFacts
from .images import images_of
from .models.base import Message
from .outputs import Json, plain_text
from .run import Run, Step
from .sandbox.base import AtHand, Died, Execution, Failed, Finished

_IMPORTS = {
    "plt": "import matplotlib.pyplot as plt",
    "pd": "import pandas as pd",
    "np": "import numpy as np",
    "sns": "import seaborn as sns",
}
"""Names that models use before they import them; the error alone makes small ones repeat themselves."""
_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


OBSERVED_CHARACTERS = 8000
"""So much of what function calls returned is shown to the model, all together."""
NO_CODE = (
    "Your reply had no Python code block, so nothing was run. Reply with one thought and one block, e.g.\n"
    "Thought: Compute it and answer.\n```python\nfinal_answer(6 * 7)\n```"
)
CUT_CODE = "Your reply was longer than it may be and was cut off, so nothing was run. Write a shorter code block."
REPEATED = "This is the same code with the same error as before. Do it in another way."


def task_text(started: RunStarted) -> str:
    """The message that gives a task."""
    lost = "The sandbox was started anew: the variables of earlier tasks are gone.\n\n" if started.state_lost else ""
    return f"{lost}Task: {started.task}" + (f"\n\nAt hand:\n{started.context}" if started.context else "")


NOTEBOOK = "The last cells of the user's notebook. They ran there, not in the sandbox:"


def describe(at_hand: AtHand, notebook: str = "") -> str:
    """Files and variables as lines for the model; then cells of the person's notebook."""
    lines = [f"- file {f.name} ({_size(f.size)})" + (f": {f.summary}" if f.summary else "") for f in at_hand.files]
    lines += [
        f"- variable {v.name}: {v.type_name}" + (f", {v.summary}" if v.summary else "") for v in at_hand.variables
    ]
    return "\n".join([*lines, *([NOTEBOOK, notebook] if notebook else [])])


def observation(step: Step) -> str:
    """What came of an action, whole: output, the error in one line, notes."""
    parts = [_edited(step), *(plain_text(output) for output in step.outputs if output is not step.error)]
    text = "\n".join(filter(None, [*parts, error_text(step), step.note])) or "(no output)"
    if step.outcome == "ok":
        text += "\nNo answer yet: go on, or call final_answer(value)."
    return _COLOURS.sub("", text)


def _edited(step: Step) -> str:
    """What ran in the place of the model's code, where a person changed it."""
    if not step.proposed or not step.decided or step.decided.code == step.proposed.code:
        return ""
    return f"The user changed the code before it ran. This ran:\n```python\n{step.code}\n```"


def observation_messages(step: Step, observed: str) -> list[Message]:
    """What came of an action: of native function calls one message each, else one, with the plots it showed."""
    return tool_messages(step, observed) or [Message("user", observed, images=images_of(step))]


def tool_messages(step: Step, observed: str) -> list[Message]:
    """What came of native function calls, one message each, as providers want it; empty where there were none.

    observed: the observation as a whole; it answers a call that was no tool's, e.g. `python(code)`.
    """
    results = {called.call_id: called for called in step.calls}
    messages = []
    for call in step.reply.calls if step.reply else ():
        called = results.get(call.id)
        limit = OBSERVED_CHARACTERS // len(step.reply.calls) if step.reply else 0
        if called is None:
            text, observed = observed or "Not called.", ""
        elif called.error is not None:
            text = f"Error: {called.error}"
        else:
            text = as_text(called.result)
        messages.append(Message("tool", bounded(text, limit, "the journal"), call_id=call.id))
    return messages


def as_text(value: Json) -> str:
    """A tool's result as a model reads it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def error_text(step: Step) -> str:
    """The exception in one line, with the failing line of the model's own code: tracebacks don't help small models."""
    error = step.error
    if error is None:
        return ""
    said = f"{error.ename}: {error.evalue}" if error.evalue else error.ename
    if error.ename == "NameError" and (missing := _UNDEFINED.match(error.evalue)):
        name = missing[1]
        if name in _IMPORTS or name in sys.stdlib_module_names:
            said += f"\nImport it first: {_IMPORTS.get(name, f'import {name}')}"
    lines = step.code.splitlines()
    if error.line and 0 < error.line <= len(lines) and lines[error.line - 1].strip():
        return f"Error in line {error.line}: `{lines[error.line - 1].strip()}`: {said}"
    return f"Error: {said}"


def bounded(text: str, limit: int, where: str) -> str:
    """`text`, or its head and tail and how much is missing, when it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit * 2 // 3], text[-(limit // 3) :]
    missing = len(text) - len(head) - len(tail)
    return f"{head}\n… {missing:,} characters are left out here; the whole text is in {where} …\n{tail}"


def _size(size: int) -> str:
    return (
        f"{size} bytes" if size < 1024 else f"{size / 1024:.0f} KB" if size < 1 << 20 else f"{size / (1 << 20):.1f} MB"
    )


def ending(execution: Execution, refusal: str = "") -> tuple[Outcome, str, bool]:
    """Outcome, the line that the model is told, and whether all variables are gone.

    refusal: why the answer was not taken, where it was not.
    """
    if refusal:
        return "denied", refusal, False
    if isinstance(execution, Finished) or (isinstance(execution, Failed) and execution.answer):
        return "ok", "", False
    if isinstance(execution, Failed):
        return "error", "", False
    if isinstance(execution, Died):
        return "died", f"The sandbox ended ({execution.cause}). A new one was started; all variables are gone.", True
    note = f"The code was stopped after {execution.seconds:.0f} s, which is as long as it may run."
    if execution.state_lost:
        note += " It could only be stopped by ending the sandbox; all variables are gone."
    return "timeout", note, execution.state_lost


def functions(tools: Sequence[ToolFacts]) -> str:
    """The tools as code may call them; empty where there are none."""
    described = "\n".join(f'def {t.signature}:\n    """{t.description}"""' for t in tools)
    return described and f"These functions are there too; call them like any other:\n```python\n{described}\n```"


def how_it_ended(before: Run) -> str:
    """How the last task ended, as the model must know to go on from there."""
    if before.started is None or before.started.author == "person":
        return ""
    if before.answered:
        return f"The user was shown your answer: {bounded(str(before.answer), 500, '_answer')}\n\n"
    return f"That task ended without an answer ({before.status}).\n\n" if before.ended else ""
