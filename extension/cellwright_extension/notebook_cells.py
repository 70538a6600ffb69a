"""The last cells of a person's notebook as context of a task: `%%agent --context N`.

They come from IPython's history: the source as it was written, what was printed, the results, the error. IPython keeps
no plots and nothing else that is shown by `display`, so the model is not told of them. What is told is on record with
the task (`RunStarted.context`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cellwright.observations import bounded

CELL_CHARACTERS = 4_000
"""Of a cell's source, and of what it showed; the middle of longer ones is left out, and that is said."""
ALL_CHARACTERS = 20_000
"""Of all cells; the oldest are left out first."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def last_cells(shell: Any, count: int) -> str:
    """The `count` cells before the one that runs, oldest first; fewer where there are no more, or they are too long."""
    history = shell.history_manager
    before = [(number, source) for number, source in enumerate(history.input_hist_raw[:-1]) if source.strip()]
    told: list[str] = []
    for number, source in reversed(before[-count:]):  # the last in the history is the one that runs
        cell = _cell(history, number, source.strip())
        if sum(map(len, told)) + len(cell) > ALL_CHARACTERS:
            break
        told.insert(0, cell)
    return "\n".join(told) if count else ""


def _cell(history: Any, number: int, source: str) -> str:
    shown = _COLOURS.sub("", "\n".join(filter(None, _shown(history, number)))).strip()
    where = "the notebook"
    parts = [f"Cell {number}:", "```python", bounded(source, CELL_CHARACTERS, where), "```"]
    if shown:
        parts += ["It showed:", "```", bounded(shown, CELL_CHARACTERS, where), "```"]
    return "\n".join(parts)


def _shown(history: Any, number: int) -> Iterator[str]:
    # IPython before 9 has neither of the first two.
    for output in getattr(history, "outputs", {}).get(number, ()):
        bundle = output.bundle
        text = bundle.get("stream", bundle.get("text/plain", ""))
        yield ("".join(text) if isinstance(text, list) else str(text)).rstrip("\n")
    if error := getattr(history, "exceptions", {}).get(number):
        yield f"{error['ename']}: {error['evalue']}"
    if not hasattr(history, "outputs") and number in history.output_hist_reprs:
        yield history.output_hist_reprs[number]
