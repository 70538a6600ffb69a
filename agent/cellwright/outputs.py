"""What code shows: one class for each kind of nbformat output, and how a cell's outputs add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Union

from .terminal import written_over

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of them."""
MimeBundle = Mapping[str, Json]
"""Mime type -> data, as in Jupyter's display messages (jupyter_client, messaging, "display_data")."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Text that code wrote to stdout or stderr."""

    name: Literal["stdout", "stderr"]
    text: str
    output_type: Literal["stream"] = "stream"


@dataclass(frozen=True, slots=True)
class Display:
    """A mime bundle that code displayed, or the value of its last expression (`is_result`)."""

    data: MimeBundle
    metadata: MimeBundle = field(default_factory=dict)
    is_result: bool = False
    display_id: str | None = None
    """Set when the code may update this display later."""
    is_update: bool = False
    """Replaces the data of the display with the same `display_id`."""
    output_type: Literal["display"] = "display"


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that ended the code."""

    ename: str
    evalue: str
    traceback: tuple[str, ...] = ()
    """Lines as IPython prints them, with ANSI colours."""
    line: int | None = None
    """Line of the cell, from 1, that failed, where it is known."""
    output_type: Literal["failure"] = "failure"


@dataclass(frozen=True, slots=True)
class Clear:
    """Code asked to clear what it showed so far (`IPython.display.clear_output`)."""

    wait: bool = False
    output_type: Literal["clear"] = "clear"


CellOutput = Union[Stream, Display, Failure, Clear]


def show(outputs: list[CellOutput], output: CellOutput, earlier: Iterable[list[CellOutput]] = ()) -> None:
    """Add `output` to what a cell shows: neighbours of one stream join, updates replace, clear empties.

    Text stays as it came: a live view must know what was added. `plain_text` writes lines over that were drawn anew.
    earlier: what cells before have shown; an update may be meant for one of their displays.
    """
    last = outputs[-1] if outputs else None
    if isinstance(output, Stream) and isinstance(last, Stream) and last.name == output.name:
        outputs[-1] = Stream(output.name, last.text + output.text)
    elif isinstance(output, Clear):
        outputs.clear()
    elif isinstance(output, Display) and output.is_update:
        for listed in (*earlier, outputs):
            for index, shown in enumerate(listed):
                if isinstance(shown, Display) and shown.display_id == output.display_id:
                    listed[index] = replace(shown, data=output.data, metadata=output.metadata)
    else:
        outputs.append(output)


def plain_text(output: CellOutput) -> str:
    """The output as text; of a line that was drawn again and again, the last drawing."""
    match output:
        case Stream():
            return written_over("", output.text).rstrip("\n")
        case Display():
            return str(output.data.get("text/plain", ""))
        case Failure():
            return f"{output.ename}: {output.evalue}"
        case Clear():
            return ""
