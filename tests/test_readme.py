"""The README shows what `cellwright verify` prints: it prints that."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "audits" / "wine.ipynb"


def shown_in_readme() -> list[list[str]]:
    """The two blocks of the README's audit trail, line by line, without the command."""
    text = (ROOT / "README.md").read_text("utf-8").partition("## The audit trail")[2].partition("\n## ")[0]
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("    "):
            blocks[-1].append(line.strip())
        elif line and blocks[-1]:
            blocks.append([])
    return [[line for line in block if not line.startswith("$")] for block in blocks if block]


def with_one_digit_changed(folder: Path) -> Path:
    """The notebook and its table in a folder, one digit of the answer changed."""
    shutil.copy(NOTEBOOK.with_name("wine.csv"), folder)
    book: Any = json.loads(NOTEBOOK.read_text("utf-8"))
    shown = [output["data"] for cell in book["cells"] for output in cell.get("outputs", ()) if "data" in output]
    (answer,) = [data for data in shown if "".join(data["text/plain"]) == "np.int64(1)"]
    answer["text/plain"] = ["np.int64(2)"]
    (folder / "wine.ipynb").write_text(json.dumps(book))
    return folder / "wine.ipynb"


async def verified(path: Path) -> tuple[int, list[str]]:
    """Exit status and lines of `cellwright verify`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from cellwright.cli import main; main()", "verify", str(path),
        stdout=asyncio.subprocess.PIPE, cwd=path.parent,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [line.strip() for line in said.decode().splitlines() if line.strip()]


@pytest.mark.parametrize("block", [0, 1], ids=["as written", "one digit changed"])
async def test_f3_the_readme_shows_what_verify_prints(block: int, tmp_path: Path) -> None:
    status, lines = await verified(with_one_digit_changed(tmp_path) if block else NOTEBOOK)
    # Another machine has other versions of packages, which are listed; everything else is the same.
    assert [line for line in lines if not line.startswith("note")] == shown_in_readme()[block]
    assert status == (4 if block else 0)
