"""Text that a program writes over again: progress bars, spinners, counters.

A carriage return goes back to the start of the line, and what follows overwrites it. Kept as it came, a loop of 10,000
steps would be 10,000 lines to the journal and to the model. `Screen` is as much of a terminal as such programs need.
"""

from __future__ import annotations

import re

LINE_LIMIT = 2_000
"""Characters of a line that can still be written over; a longer one is no progress bar."""
ROWS_LIMIT = 200
"""Rows below the cursor that are kept back, at most."""

_PARTS = re.compile(r"(\x1b\[[0-9;]*m)|\x1b\[(\d*)([ABK])|(\r\n|[\r\n\b])|\x1b|[^\x1b\r\n\b]+")
_MOVES = re.compile(r"[\r\b]|\x1b\[\d*[ABK]")


def moves(text: str) -> bool:
    """True when `text` does more than go on where the last text ended."""
    return _MOVES.search(text) is not None


def written_over(shown: str, text: str) -> str:
    """What stands there when `text` is written after `shown`."""
    if not moves(text):
        return shown + text
    before, newline, line = shown.rpartition("\n")
    screen = Screen(line)
    screen.write(text)
    return before + newline + "\n".join(screen.lines())


class Screen:
    """Some rows, and a cursor that only ever moves within them. `line`: what the first row holds already."""

    def __init__(self, line: str = "") -> None:
        self._rows: list[list[str]] = [[]]
        """A cell is a character with the colours that begin before it."""
        self.row = 0
        self.highest = 0
        """The highest row in which the cursor was since `forget`."""
        self.climbed = False
        self._column = 0
        self._colour = ""
        self.write(line)

    def write(self, text: str) -> None:
        """Write `text`; of escape sequences it knows colours, up, down and erase, and leaves out all others."""
        for part in _PARTS.finditer(text):
            colour, count, command, control = part.groups()
            if colour:
                self._paint(colour)
            elif command == "K":
                self._erase(count)
            elif command:
                self._up_or_down(int(count[:4] or 1) * (-1 if command == "A" else 1))
            elif control:
                self._control(control)
            elif part[0] != "\x1b":
                self._put(part[0])

    def lines(self, last: int | None = None) -> list[str]:
        """The rows as text, to row `last`; all of them, without empty ones at the end, when `last` is None."""
        rows = self._rows if last is None else self._rows[: last + 1]
        lines = ["".join(row) for row in rows]
        while last is None and len(lines) > self.row + 1 and not lines[-1].strip():
            lines.pop()
        return lines

    def forget(self, count: int) -> None:
        """Take the first `count` rows away; the cursor is not in them."""
        del self._rows[:count]
        self.row -= count
        self.highest, self.climbed = self.row, False

    def leave(self) -> int:
        """Go down to the last row; its number."""
        self.row = len(self._rows) - 1
        return self.row

    def _put(self, text: str) -> None:
        row, start = self._rows[self.row], self._column
        row.extend(" " * (start - len(row)))
        cells = list(text)
        cells[0] = self._colour + cells[0]
        row[start : start + len(cells)] = cells
        self._column += len(cells)
        self._colour = ""

    def _paint(self, colour: str) -> None:
        """A colour belongs to the character before it: there it ends. At the start of a line it waits for the next."""
        row = self._rows[self.row]
        if 0 < self._column <= len(row):
            row[self._column - 1] += colour
        else:
            self._colour += colour

    def _control(self, control: str) -> None:
        if control == "\b":
            self._column = max(0, self._column - 1)
            return
        self._column = 0
        if control != "\r":
            self.row += 1
            if self.row == len(self._rows):
                self._rows.append([])

    def _up_or_down(self, count: int) -> None:
        self.row = max(0, min(len(self._rows) - 1, self.row + count))
        self.highest = min(self.highest, self.row)
        self.climbed = self.climbed or count < 0

    def _erase(self, what: str) -> None:
        row = self._rows[self.row]
        if what == "2":
            row.clear()
        elif what == "1":
            end = min(self._column + 1, len(row))
            row[:end] = [" "] * end
        else:
            del row[self._column :]


class Printed:
    """A stream on its way to people who can only append: what has changed since they last heard of it.

    Rows below the cursor wait until the cursor has passed them, as bars below a bar are drawn and left again.
    """

    def __init__(self) -> None:
        self._told = ""
        """The line that was told last, as far as it can be written over."""
        self._screen: Screen | None = None
        """Set while there is more on the screen than the line that was told."""

    def news(self, text: str) -> str:
        """What to append, now that `text` was written: whole lines, and `\\r` and a line where one has changed."""
        if self._screen is None and not moves(text):
            self._keep((self._told + text).rpartition("\n")[2])
            return text
        screen = self._screen or Screen(self._told)
        screen.write(text)
        # Who climbs will climb again: the row below is told when it is left for good, not when a text happens to end.
        done = screen.highest if screen.climbed else screen.row
        if len(screen.lines()) - done > ROWS_LIMIT:
            done = screen.leave()
        news = self._changes(screen.lines(done))
        screen.forget(done)
        self._screen = screen if len(screen.lines()) > 1 else None
        return news

    def rest(self) -> str:
        """What is still kept back; then it begins anew."""
        screen, self._screen = self._screen, None
        waiting = "".join("\n" + line for line in screen.lines()[1:]) if screen else ""
        self._told = ""
        return waiting

    def _changes(self, lines: list[str]) -> str:
        told, (first, *more) = self._told, lines
        self._keep(lines[-1])
        first = first[len(told) :] if first.startswith(told) else "\r" + first + " " * (len(told) - len(first))
        return "\n".join([first, *more])

    def _keep(self, line: str) -> None:
        self._told = line if len(line) <= LINE_LIMIT else ""
