"""What `verify` found, as the first cell of a copy of the notebook.

The stamp says who found what and when; it proves nothing, since anybody can write it. The next check passes over it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from .. import __version__
from ..errors import ExportError
from . import cells
from .export import write_whole
from .inspection import STAMP, is_stamped
from .metadata import read_file
from .verify import WORDS, Verdict, Verification


def write_stamped(path: Path, found: Verification, target: Path) -> None:
    """Write a copy of the notebook with what was found of it. Raises `ExportError`, also for the notebook itself."""
    if target.resolve() == path.resolve():
        raise ExportError("The stamp goes into a copy: name another file than the notebook itself.")
    book = read_file(path)
    now = time.time()
    cell = cells.markdown(f"{found.last}:{now}", _text(found, now), {"role": STAMP, "time": now, **found.as_json()})
    # An older stamp makes room; what only looks like one, further down, stays for the next check to find.
    book["cells"] = [cell, *(book.get("cells") or [])[int(is_stamped(book)) :]]
    write_whole(target, json.dumps(book, ensure_ascii=False, indent=1) + "\n")


def _text(found: Verification, now: float) -> str:
    said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    mark = "\u2717" if found.verdict >= Verdict.DIFFERENT else "\u2713"
    rows = [("verified", f"{said}, with Cellwright {__version__}")]
    rows.append(("record", f"{found.events:,} events, last link {cells.inline(found.last)}"))
    rows.append(("signed by", cells.inline(found.signer) if found.signed_by else found.signer))
    parts = [f"**{mark} {found.said}**", cells.table(rows)]
    if found.changes:
        parts.append("\n".join(f"- changed: {cells.inline(str(change))}" for change in found.changes))
    if found.steps:
        steps = [
            (
                cells.inline(step.where),
                WORDS[step.likeness.degree],
                cells.inline("; ".join(filter(None, [*step.likeness.reasons, step.note]))),
            )
            for step in found.steps
        ]
        parts.append(cells.table(steps, ("where", "output", "why")))
    if found.notes:
        parts.append("\n".join(f"- {cells.inline(note)}" for note in found.notes))
    return "\n\n".join(parts)
