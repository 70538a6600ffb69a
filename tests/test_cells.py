"""What a cell of the Cellwright kernel means."""

from __future__ import annotations

import pytest

from cellwright_kernel.cells import Cell, read


@pytest.mark.parametrize(
    ("source", "cell"),
    [
        ("", Cell("empty", "")),
        (" \n\t", Cell("empty", "")),
        ("Plot it.", Cell("task", "Plot it.")),
        ("Which is the heaviest?", Cell("task", "Which is the heaviest?")),
        ("%%py\nx = 1", Cell("python", "x = 1")),
        ("%%py x = 1", Cell("python", "x = 1")),
        ("%%py  x = 1\n\nx", Cell("python", "x = 1\n\nx")),
        ("%%tool def f(): pass", Cell("tools", "def f(): pass")),
        ("%%tool\ndef f(): ...", Cell("tools", "def f(): ...")),
        ("%%agent --new\nGo on.", Cell("task", "Go on.", "--new")),
        ("%agent steps", Cell("command", "steps")),
        ("%agent", Cell("command", "")),
        ("!ls", Cell("ipython", "!ls")),
        ("df?", Cell("ipython", "df?")),
    ],
)
def test_a_cell_is_read(source: str, cell: Cell) -> None:
    assert read(source) == cell
