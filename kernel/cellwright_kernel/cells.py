"""What a cell of the Cellwright kernel means.

Which species is the heaviest?     a task
%%py                               Python by hand, in the sandbox
%%tool                             Python in the host that defines tools
%agent steps                       a command of the conversation
%%agent?, %agent runs?             help, beside the notebook
%time ..., !ls, df?                IPython, in the sandbox: there the variables are
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

HEADS = ("%agent", "%%agent", "%%py", "%%tool")
"""What a cell that is ours begins with."""

Kind = Literal["empty", "task", "python", "tools", "command", "help", "ipython"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell, read."""

    kind: Kind
    text: str
    """What is to be done: the task, the code, the line behind `%agent`, or what help is wanted with."""
    options: str = ""
    """The line behind `%%agent`."""


HANDS: dict[str, Kind] = {"%%py": "python", "%%tool": "tools"}
"""Words above a person's own code."""


def read(source: str) -> Cell:  # noqa: PLR0911 - a table, in the form of ifs
    """Say what `source` means."""
    text = source.strip()
    first, _, rest = text.partition("\n")
    word, _, line = first.partition(" ")
    if not text:
        return Cell("empty", "")
    if asked := re.fullmatch(r"(%%?agent(?: \w+)?)\?{1,2}", text):
        return Cell("help", asked[1])
    if word == "%%agent":
        return Cell("task", rest, line)
    if word in HANDS:
        return Cell(HANDS[word], "\n".join(filter(None, (line.strip(), rest))))  # code may stand beside the word, too
    if word == "%agent" and not rest:
        return Cell("command", line)
    if first.startswith(("%", "!", "?")) or re.fullmatch(r"[\w.*%]+\?{1,2}", text):
        return Cell("ipython", text)
    return Cell("task", text)
