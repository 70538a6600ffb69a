"""Makes the three audit notebooks of this folder: the embedded model, real tables, nothing done by hand.

    python notebooks/audits/make.py       all three; needs the embedded model, no key and no network
    python notebooks/audits/make.py wine  one

penguins.csv is from palmerpenguins (CC0), wine.csv and iris.csv are UCI's (CC BY 4.0), as scikit-learn carries them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cellwright import CodeAgent
from cellwright.journal import Journal
from cellwright.notebook.export import write

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Audit:
    """A task, and what its answer must hold."""

    table: str
    task: str
    expected: str


AUDITS = {
    "penguins": Audit(
        "penguins.csv", "Which species has the longest flippers on average? Use penguins.csv. Plot it.", "Gentoo"
    ),
    "wine": Audit("wine.csv", "Which cultivar has the most alcohol on average? Use wine.csv. Plot it.", "int64(1)"),
    "iris": Audit("iris.csv", "How strongly are petal_length and petal_width correlated? Use iris.csv.", "0.96"),
}


async def main(names: list[str]) -> int:
    """Make the notebooks that are named, or all; the exit status is 1 when an answer is wrong."""
    for name in names or list(AUDITS):
        audit = AUDITS[name]
        if said := await _make(name, audit):
            print(f"{name}: {said}")
            return 1
        print(f"{name}.ipynb is written.")
    return 0


async def _make(name: str, audit: Audit) -> str:
    """Do the task in a folder that holds only the table; what is wrong with the answer, if anything."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(HERE / audit.table, folder)
        os.chdir(folder)
        journal = Journal(Path(folder) / "journal.sqlite")
        async with CodeAgent("embedded", journal=journal) as agent:
            run = await agent.run(audit.task)
            shown = str(run.answered.data) if run.answered else ""
            if run.status != "success" or audit.expected not in shown:
                return f"{run.status} {run.reason} {shown[:200]}"
            write(await journal.records(agent.conversation), HERE / f"{name}.ipynb")
        os.chdir(HERE)
    return ""


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
