"""Cells of nbformat 4.5, with ids that are the same for the same run, and outputs as nbformat wants them."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..chain import LONG, digest
from ..events import Event
from ..outputs import CellOutput, Display, Failure, Json, MimeBundle, Stream
from ..record import is_left_out
from ..wire import to_json

if TYPE_CHECKING:
    from nbformat import NotebookNode

_JSON_MIME = re.compile(r"application/(.*\+)?json$")


def markdown(key: str, text: str, facts: Mapping[str, Json]) -> NotebookNode:
    """A Markdown cell. `key` is unique in the notebook and makes the id; `facts` become `metadata.cellwright`."""
    metadata = {"cellwright": dict(facts)}
    return _node({"id": cell_id(key), "cell_type": "markdown", "source": text, "metadata": metadata})


def code(
    key: str,
    source: str,
    facts: Mapping[str, Json],
    *,
    outputs: Iterable[NotebookNode] = (),
    tags: Iterable[str] = (),
    hidden: bool = False,
) -> NotebookNode:
    """A code cell; `hidden` folds its source in JupyterLab. Execution counts are set when the notebook is whole."""
    metadata: dict[str, Any] = {"cellwright": dict(facts)}
    if tags := list(tags):
        metadata["tags"] = tags
    if hidden:
        metadata["jupyter"] = {"source_hidden": True}
    return _node(
        {
            "id": cell_id(key),
            "cell_type": "code",
            "source": source,
            "metadata": metadata,
            "outputs": list(outputs),
            "execution_count": None,
        }
    )


def whole(cells: list[NotebookNode], metadata: Mapping[str, Json]) -> NotebookNode:
    """The notebook of these cells; code cells are counted as a kernel that runs them from the top would."""
    code_cells = (cell for cell in cells if cell.cell_type == "code")
    for count, cell in enumerate(code_cells, 1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    return _node({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})


def cell_id(key: str) -> str:
    """An id of nbformat 4.5 for `key`: the same key, the same id."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def output(shown: CellOutput) -> NotebookNode:
    """One output of a cell; `Clear` and updates are already folded in (`run.show`)."""
    if isinstance(shown, Stream):
        return _output("stream", name=shown.name, text=shown.text)
    if isinstance(shown, Failure):
        return _output("error", ename=shown.ename, evalue=shown.evalue, traceback=list(shown.traceback))
    assert isinstance(shown, Display)
    return display(shown.data, shown.metadata, shown.is_result)


def display(data: MimeBundle, metadata: MimeBundle, is_result: bool = False) -> NotebookNode:
    """A mime bundle as output: the value of the cell, or something displayed."""
    texts = {
        # nbformat takes structured data only under JSON's own mime types.
        mime: value if isinstance(value, str) or _JSON_MIME.match(mime) else json.dumps(value)
        for mime, value in data.items()
        if not is_left_out(value)
    }
    if missing := [f"{mime}: {value}" for mime, value in data.items() if is_left_out(value)]:
        # A picture that is no picture would be drawn broken.
        texts["text/plain"] = "\n".join([*filter(None, [texts.get("text/plain")]), *missing])
    if is_result:
        return _output("execute_result", data=texts, metadata=dict(metadata), execution_count=None)
    return _output("display_data", data=texts, metadata=dict(metadata))


def facts(event: Event, *without: str) -> dict[str, Json]:
    """The event as JSON data, without the fields that the notebook shows elsewhere."""
    data: dict[str, Json] = json.loads(to_json(event))
    return {key: _short(value) for key, value in data.items() if key not in without and key != "kind"}


def diff(before: str, after: str) -> str:
    """What was changed in code, as a unified diff in a Markdown block."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "proposed", "ran", lineterm="")
    return fenced("\n".join(lines), "diff")


def table(rows: Iterable[Iterable[str]], head: Iterable[str] = ("", "")) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"|{'|'.join(f' {text} ' if text else ' ' for text in line)}|" for line in lines)


def fenced(text: str, language: str = "") -> str:
    """`text` as a Markdown code block, whatever back quotes are in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def quoted(text: str) -> str:
    """`text` as a Markdown quotation."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines()) or ">"


def inline(text: str) -> str:
    """`text` as inline code, in one line, fit for a table's cell."""
    folded = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{folded}`" if folded else "–"


def _short(value: Json) -> Json:
    """`value` with its long texts named by their hash: the record holds them, and once is enough."""
    if isinstance(value, str) and len(value) > LONG:
        return f"sha256:{digest(value)}"
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value


def _output(kind: str, **fields: Json) -> NotebookNode:
    return _node({"output_type": kind, **fields})


def _node(data: Mapping[str, Json]) -> NotebookNode:
    # Not nbformat's `new_code_cell` and its like: each validates what it makes, which took most of an export's time.
    # `write` validates the whole, once.
    from nbformat import from_dict

    made: NotebookNode = from_dict(data)  # type: ignore[no-untyped-call]
    return made
