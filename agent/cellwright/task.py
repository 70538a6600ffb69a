"""A task as it comes from a person: refused where it is none, with the values that go with it."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import UsageError
from .events import ValuePut

TASK_CHARACTERS = 200_000
"""A longer task is refused: it is a file that was pasted."""


def checked_task(task: str) -> str:
    """The task without blanks around it. Raises `UsageError` for an empty one, binary data, or a pasted file."""
    task = task.strip()
    if not task:
        raise UsageError("The task is empty. Write what is to be done, e.g. `What is the mean of age in data.csv?`")
    if "\x00" in task or sum(not c.isprintable() and not c.isspace() for c in task) > max(8, len(task) // 20):
        raise UsageError("The task is not text: it holds binary data. Put the data in a file and name the file.")
    if len(task) > TASK_CHARACTERS:
        raise UsageError(
            f"The task has {len(task):,} characters, {TASK_CHARACTERS:,} are allowed. "
            "Put the data in a file and name the file."
        )
    return task


def encoded_values(values: Mapping[str, object]) -> list[ValuePut]:
    """Values by name, each in the form in which it crosses. Raises `ValueNotTransferable`."""
    if not values:
        return []
    from .sandbox.values import encode

    return [ValuePut(name=name, form=form, value=value) for name, (form, value) in encode(values).items()]
