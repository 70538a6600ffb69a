"""What commands show: small tables, text and code that read well in a notebook and in a terminal."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cellwright.run_tables import Rows


class Link(str):
    """A file's name that opens the file, where a page can: beneath the notebook's folder."""

    __slots__ = ("href",)
    href: str

    def __new__(cls, path: Path) -> Link:
        made = super().__new__(cls, str(path))
        inside = os.path.relpath(path)
        made.href = "" if inside.startswith("..") or Path(inside).is_absolute() else quote(inside)
        return made

    def _repr_html_(self) -> str:
        name = html.escape(self)
        return f'<a href="{html.escape(self.href)}" target="_blank">{name}</a>' if self.href else name


class RunId(str):
    """A run's id; the page says how it is brought back."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        name = html.escape(self)
        return f'<code title="%agent show {name}">{name}</code>'


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; `empty` is what is said when there are none."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str = ""

    @classmethod
    def of(cls, table: Rows, empty: str = "") -> Table:
        """Rows as they are shown everywhere; a run's id is known as one."""
        rows = [[RunId(row[0]), *row[1:]] for row in table.rows] if table.headings[0] == "run" else table.rows
        return cls(table.headings, rows, empty)

    def __repr__(self) -> str:
        if not self.rows:
            return self.empty
        lines = [self.headings, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.headings))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{html.escape(self.empty)}</p>"
        head = "".join(f'<th style="text-align:left">{html.escape(cell)}</th>' for cell in self.headings)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{_as_html(cell)}</td>' for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True, slots=True)
class Code:
    """Lines that stand as they are."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text)}</pre>"


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, which a file's name may follow."""

    text: str
    file: Link | None = None
    is_strong: bool = False

    def __repr__(self) -> str:
        return f"{self.text} {self.file}" if self.file else self.text

    def _repr_html_(self) -> str:
        text = " ".join([html.escape(self.text), *([self.file._repr_html_()] if self.file else [])])
        return f"<p><b>{text}</b></p>" if self.is_strong else f"<p>{text}</p>"


@dataclass(frozen=True, slots=True)
class Stack:
    """Parts, one beneath the other."""

    parts: Sequence[Table | Code | Said]

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self.parts))

    def _repr_html_(self) -> str:
        return "".join(part._repr_html_() for part in self.parts)


def _as_html(cell: str) -> str:
    return cell._repr_html_() if isinstance(cell, Link | RunId) else html.escape(cell)
