"""The notebooks of notebooks/: clean as they are committed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
COMMITTED = sorted(path for path in FOLDER.glob("*.ipynb") if not path.stem.endswith("-audit"))
PLACE = re.compile(r"(?<![\w.:/<])/(?:home|root|work|tmp|Users|usr|opt|var|private|mnt)/|\b[A-Z]:\\\\")
"""The beginning of a path that only one machine has; not a closing tag or the path of an address."""


def texts(notebook: Any) -> Iterator[str]:
    """Everything that a person may read: sources, and what cells printed and showed."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", ()):
            shown = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
            yield json.dumps([output.get("text", ""), shown], ensure_ascii=False)
    yield json.dumps(notebook.metadata)


def test_a_machines_path_would_be_seen() -> None:
    for text in ("in /home/kari/x", '"/root/.cache"', "/tmp/a", "C:\\\\Users"):
        assert PLACE.search(text)
    for text in ("</tmp/x>", "https://a.org/home/x", "and/or", "notebooks/tmp/x"):
        assert not PLACE.search(text)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_notebook_is_whole_and_names_no_machine(path: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    for text in texts(notebook):
        assert not (found := PLACE.search(text)), text[max(0, found.start() - 40) : found.end() + 60]
        assert str(Path.home()) not in text
