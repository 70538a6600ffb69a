"""A task as it comes from a person: refused where it is none, with the values and files that go with it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import UsageError, WorkspaceError
from .events import ValuePut
from .facts import FileFacts
from .images import as_images
from .sandbox.base import Sandbox

__all__ = ["as_images", "checked_task", "encoded_values", "handed_over", "named_files"]

SEARCHED_CHARACTERS = 10_000
"""So much of a task is searched for names of files."""
NAME_CHARACTERS = 100
"""So long may the name of a file be that is found in a task."""
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


def named_files(task: str, folder: Path) -> Sequence[Path]:
    """Files beneath `folder` that the task names, e.g. `data/sales.csv`: to name a file is to hand it over."""
    found: dict[Path, None] = {}
    task = task[:SEARCHED_CHARACTERS]
    for ending in re.finditer(r"(?<=\w)\.\w{1,10}\b", task):
        before = task[max(0, ending.start() - NAME_CHARACTERS) : ending.start()]
        # A name may have blanks in it, so it may begin at any word: the longest that exists is meant.
        for beginning in re.finditer(r"(?:^|(?<=[\s\"'`(,:=\[]))(?=[\w.])", before):
            path = folder / (before[beginning.start() :] + ending[0])
            if "\n" not in path.name and path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                found[path.resolve()] = None
                break
    return list(found)


async def handed_over(sandbox: Sandbox, files: Sequence[Path]) -> tuple[FileFacts, ...]:
    """Bring the person's files into the sandbox; what they were then. Raises `WorkspaceError`."""
    names = await sandbox.bring(files)
    return tuple(await asyncio.to_thread(lambda: [file_facts(*pair) for pair in zip(files, names, strict=True)]))


def file_facts(path: Path, name: str) -> FileFacts:
    """Size and hash of a file. Raises `WorkspaceError` where it can't be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        # Without isolation code reads a file where it is; the whole path is nobody's business but the person's.
        return FileFacts(path.name if Path(name).is_absolute() else name, path.stat().st_size, digest)
    except OSError as error:
        raise WorkspaceError(f"{path} can't be read: {error.strerror}.") from error
