"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table under a title; numbers stand right."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    print(f"\n## {title}\n")
    for number, row in enumerate(cells):
        aligned = (
            cell.ljust(width) if column == 0 or not number_like(rows, column) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("| " + " | ".join(aligned) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(flush=True)


def number_like(rows: Sequence[Sequence[object]], column: int) -> bool:
    """True when every cell of the column begins with a digit, or is empty."""
    return all(not str(row[column]) or str(row[column])[0].isdigit() for row in rows)
