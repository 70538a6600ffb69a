"""The audit notebook for readers: what was asked and what came of it on top, the code folded away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import one_line
from ..events import AnswerGiven
from ..record import Record, is_left_out
from . import cells
from .head import started

if TYPE_CHECKING:
    from nbformat import NotebookNode

_PICTURES = {"image/png": "png", "image/jpeg": "jpeg"}


def top(records: Sequence[Record]) -> NotebookNode:
    """The first cell of a report: the last task and its answer."""
    starts = [(record.run, started(record.run)) for record in records]
    tasks = [run for run, start in starts if start.author == "agent" and not start.caller]
    run = tasks[-1] if tasks else records[-1].run
    attachments: dict[str, Any] = {}
    parts = [f"# {one_line(run.task, 100)}"]
    if one_line(run.task, 100) != run.task:
        parts.append(cells.quoted(run.task))
    if run.answered:
        text, attachments = _answer(run.answered)
        parts.append(text if run.answered.confirmed else f"*Said by the model, computed by no code:*\n\n{text}")
    else:
        parts.append(f"**No answer**: {run.status.replace('_', ' ')}. {run.reason}".rstrip())
    parts.append("---\n\nBelow: where and how this was found, step by step, the code folded away.")
    facts = {"role": "report", "run": run.id, "seq": run.answered.seq if run.answered else 0}
    made = cells.markdown(f"{started(run).conversation}:report", "\n\n".join(parts), facts)
    if attachments:
        made["attachments"] = attachments
    return made


def fold(made: Sequence[NotebookNode]) -> Sequence[NotebookNode]:
    """The cells with their code folded: by JupyterLab, by nbconvert's and Jupyter Book's tag, by our page."""
    for cell in made:
        if cell.metadata.cellwright.role == "head":
            cell.source = cell.source.replace("# Audit notebook", "## How this came about", 1)
        if cell.cell_type == "code":
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "hide-input"]
    return made


def _answer(answer: AnswerGiven) -> tuple[str, dict[str, Any]]:
    """The answer as Markdown, and the pictures in it."""
    data = {mime: text for mime, text in answer.data.items() if isinstance(text, str) and not is_left_out(text)}
    for mime, ending in _PICTURES.items():
        if mime in data:
            name = f"answer.{ending}"
            return f"![The answer](attachment:{name})", {name: {mime: data[mime]}}
    if "text/markdown" in data:
        return data["text/markdown"], {}
    if "text/html" in data:
        # A blank line would end the HTML within Markdown.
        return re.sub(r"\n\s*\n", "\n", data["text/html"].strip()), {}
    text = str(answer.data.get("text/plain", ""))
    return (cells.fenced(text) if "\n" in text else f"**{cells.inline(text)}**"), {}
