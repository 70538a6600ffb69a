"""An output of the sandbox as a message of the notebook's own kernel."""

from __future__ import annotations

from typing import Any

from cellwright.outputs import CellOutput, Clear, Display, Failure, Json, Stream


def as_message(output: CellOutput, count: int | None = None) -> tuple[str, dict[str, Json]]:
    """Type and content of the iopub message (Jupyter messaging) that shows `output`.

    count: the number of the cell whose value a result is; without it a result is shown like any display.
    """
    match output:
        case Stream(name=name, text=text):
            return "stream", {"name": name, "text": text}
        case Clear(wait=wait):
            return "clear_output", {"wait": wait}
        case Failure(ename=ename, evalue=evalue, traceback=lines):
            return "error", {"ename": ename, "evalue": evalue, "traceback": list(lines) or [f"{ename}: {evalue}"]}
        case Display():
            return _display(output, count)


def _display(shown: Display, count: int | None) -> tuple[str, dict[str, Json]]:
    content: dict[str, Any] = {"data": dict(shown.data), "metadata": dict(shown.metadata)}
    if shown.is_result and count is not None:
        return "execute_result", {**content, "execution_count": count}
    content["transient"] = {"display_id": shown.display_id} if shown.display_id else {}
    return "update_display_data" if shown.is_update else "display_data", content
