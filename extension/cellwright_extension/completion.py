"""What can stand at the cursor: words of `%agent`, options and their values, models, files, variables in braces.

Kernel and magic both ask `place`. What may stand where is known from the tables of options and commands alone, so what
is added there is completed, too. Positions count characters, as Jupyter's do (Jupyter messaging, "Completion").
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
from click.shell_completion import CompletionItem, ShellComplete

from cellwright.options import VARIABLE, magic_command

from .command_table import COMMANDS

LISTED = 1000
"""Files of a folder that are offered."""

Variables = Literal["", "notebook", "all"]
"""Whose variables may stand there: those of the notebook (`--in`), or the sandbox's, too (braces in a task)."""

# A word as a shell reads it; the last quotation may be open.
_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|\\$|"[^"]*(?:"|$)|'[^']*(?:'|$))+""")
_COMMAND = re.compile(r"^\s*(?:[^#=]+=\s*)?%agent[ \t]+")
_BRACE = re.compile(r"\{(\w*)$")


@dataclass(frozen=True, slots=True)
class Place:
    """A word that is being written, and what it may become."""

    start: int
    """Characters of the cell before it."""
    written: str
    words: Sequence[str] = ()
    variables: Variables = ""

    def choices(self, variables: Iterable[str] = ()) -> list[str]:
        """What it may become; `variables` are those that were asked for."""
        return [*self.words, *sorted({name for name in variables if name.startswith(self.written)})]


def place(source: str, cursor: int, *, is_task: bool = False) -> Place | None:
    """What stands at the cursor, if it is ours; None where it is Python.

    cursor: characters before it. is_task: whether a cell without `%%agent` is a task, as in the Cellwright kernel.
    """
    before = source[:cursor]
    head, below, _ = before.lstrip().partition("\n")
    line = before.rpartition("\n")[2]
    if re.match(r"%%agent(\s|$)", head):
        if below:
            return _in_braces(line, cursor)
        return _of_command(magic_command(), head.removeprefix("%%agent"), cursor) if head != "%%agent" else None
    if found := _COMMAND.match(line):
        return _behind_agent(line[found.end() :], cursor)
    return _in_braces(line, cursor) if is_task else None


def _in_braces(line: str, cursor: int) -> Place | None:
    found = _BRACE.search(line)
    return Place(cursor - len(found[1]), found[1], variables="all") if found else None


# ---- a line with words ----------------------------------------------------------------------------------------------


def _behind_agent(text: str, cursor: int) -> Place:
    from . import commands  # noqa: F401 - it enters its commands into the table

    done, written = _words(text)
    so_far = "".join(f"{word} " for word in done)
    next_words = {name.removeprefix(so_far).split()[0] for name in COMMANDS if name.startswith(so_far)}
    words = sorted(word for word in next_words if word.startswith(written))
    count = 2 if " ".join(done[:2]) in COMMANDS else 1
    known = COMMANDS.get(" ".join(done[:count]))
    if known is None:
        return Place(cursor - len(written), written, words)
    found = _of_command(known[0], text, cursor, skip=count)
    return Place(found.start, found.written, [*words, *found.words], found.variables)


def _of_command(known: click.Command, text: str, cursor: int, skip: int = 0) -> Place:
    """What may stand at the end of `text`, the words behind a command; the first `skip` are its name."""
    done, written = _words(text)
    typed = _unquoted(written)
    asked = ShellComplete(known, {}, known.name or "", "")
    items = asked.get_completions(done[skip:], typed)
    if not items and not typed:
        items = [item for item in asked.get_completions(done[skip:], "--") if item.value != "--help"]
    option, equals, _ = written.partition("=")
    if equals and option.startswith("-"):
        written = written[len(option) + 1 :]
    if any(item.type == VARIABLE for item in items):
        last = written.rpartition(",")[2]
        return Place(cursor - len(last), last, variables="notebook")
    words = [word for item in items for word in _as_typed(item)]
    return Place(cursor - len(written), written, words)


def _words(text: str) -> tuple[list[str], str]:
    """The words before the last blank, as they are meant, and what is being written, as it stands."""
    found = list(_WORD.finditer(text))
    written = found.pop()[0] if found and found[-1].end() == len(text) else ""
    return [_unquoted(word[0]) for word in found], written


def _unquoted(word: str) -> str:
    for closing in ("", '"', "'"):
        try:
            return "".join(shlex.split(word + closing))
        except ValueError:
            continue  # an open quotation of the other kind
    return word


def _as_typed(item: CompletionItem) -> list[str]:
    if item.type in ("file", "dir"):
        return [shlex.quote(name) for name in _files(item.value)]
    return [str(item.value)]


def _files(typed: str) -> list[str]:
    """Files and folders whose path begins so; folders end in a slash."""
    folder, slash, beginning = typed.rpartition("/")
    try:
        entries = sorted(Path(folder + slash or ".").expanduser().iterdir())
    except (OSError, RuntimeError):  # no such folder, no such home
        return []
    names = [
        f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(beginning) and (beginning or not entry.name.startswith("."))
    ]
    return names[:LISTED]
