"""A conversation as a notebook that anybody can read, and run again without us.

    notebook(runs)          an nbformat 4.5 notebook on the `python3` kernel
    write(runs, path)       the same as a file, whole or not at all
    write_html(runs, path)  one page for a browser, without a network

It is made from the record alone, so the same record gives the same bytes. The cells, in order: what this is; a preamble
that defines `final_answer` and stand-ins for tools; for each run its task, the values put in, each step's thought
(Markdown) and action (code with its real outputs), and how it ended. `metadata.cellwright` of the notebook holds the
record itself (`metadata.py`), that of a cell its `role`, `run`, `seq`, `step` and what is known of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExportError, one_line
from ..outputs import Json
from ..record import Record
from ..run import Run
from . import cells
from .head import started
from .metadata import Layout, metadata, records_of, without_long_outputs
from .report import fold, top
from .story import tell

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from ..signing import Signature


def notebook(
    runs: Iterable[Run | Record],
    *,
    report: bool = False,
    max_output: int | None = None,
    signature: Signature | None = None,
) -> NotebookNode:
    """The audit notebook of one conversation: its runs in order, those of agents that were called as tools with them.

    report: for readers, the answer on top and the code folded. max_output: bytes; a longer text of an output is left
    out, and its SHA-256 stands in its place. signature: by `signing.sign`, over the same records. Raises `ExportError`.
    """
    records = without_long_outputs(records_of(runs), max_output)
    made = tell(records)
    if report:
        made = [top(records), *fold(made)]
    known = metadata(records, Layout(report, max_output), made)
    if signature:
        known["signature"] = asdict(signature)
    return cells.whole(made, {**_LANGUAGE, "language_info": _language(records), "cellwright": known})


def write(
    runs: Iterable[Run | Record],
    path: Path | str,
    *,
    report: bool = False,
    max_output: int | None = None,
    signature: Signature | None = None,
) -> None:
    """Write the audit notebook to `path`, whole or not at all; a file there is replaced. Raises `ExportError`.

    Options as for `notebook`.
    """
    import nbformat
    from nbformat import v4

    made = notebook(runs, report=report, max_output=max_output, signature=signature)
    try:
        nbformat.validate(made)
        text: str = v4.writes(made)  # type: ignore[no-untyped-call]  # `nbformat.writes` would validate again
    except (nbformat.ValidationError, ValueError) as error:
        raise ExportError(f"This run has no valid notebook form: {one_line(str(error))} Please report it.") from error
    write_whole(Path(path), text.rstrip("\n") + "\n")


def write_html(
    runs: Iterable[Run | Record], path: Path | str, *, report: bool = True, max_output: int | None = None
) -> None:
    """Write one page for a browser, which needs no network and runs no script. Raises `ExportError`.

    Options as for `notebook`.
    """
    from .page import page

    write_whole(Path(path), page(notebook(runs, report=report, max_output=max_output)))


def write_whole(path: Path, text: str) -> None:
    """Write the file, whole or not at all. Raises `ExportError`."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode(errors="replace"))
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            Path(name).chmod(0o666 & ~umask)  # mkstemp makes 0600; a notebook is as readable as any file of its folder
            Path(name).replace(path)
        except BaseException:  # cancelled, too: half a notebook must not stay behind; it is raised again
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ExportError(f"{path} can't be written: {error.strerror or error}. Choose another path.") from error


_LANGUAGE = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def _language(records: Iterable[Record]) -> dict[str, Json]:
    sandbox = next((start.sandbox for record in records if (start := started(record.run)).sandbox), None)
    return {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "pygments_lexer": "ipython3",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "nbconvert_exporter": "python",
        **({"version": sandbox.python} if sandbox else {}),
    }
