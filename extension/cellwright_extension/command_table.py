"""The table of `%agent` commands: each module that has some enters them here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import click

Command = Callable[..., Awaitable[object]]

COMMANDS: dict[str, tuple[click.Command, Command]] = {}
"""Word -> its options and help, and what does it: called with the session and the options."""


def command(*params: click.Parameter, name: str = "") -> Callable[[Command], Command]:
    """Enter a function under its name, or under `name`, which may be two words; its docstring is the help."""

    def add(function: Command) -> Command:
        word = name or function.__name__.strip("_")
        COMMANDS[word] = (click.Command(word, params=list(params), help=function.__doc__), function)
        return function

    return add


class Text(str):
    """Text that is shown as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class NextCell:
    """Text for a new cell below, for the person to change and run."""

    text: str

    def __repr__(self) -> str:
        return "Change the cell below and run it."
