"""`make demo`: a task on a real table, from the question to an audit notebook that proves the answer.

It runs without a browser what a person would do in JupyterLab: a notebook of the Cellwright kernel with a question in
its first cell. The steps are printed as they happen; they are read from the journal, as any other program could. Then
the audit notebook is executed again on a plain Python kernel, without Cellwright, and compared with the record.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cellwright.console import ConsoleView
from cellwright.events import Event
from cellwright.journal import Journal, default_path
from cellwright.run import Run

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parents[1] / "results" / "demo"
LOG = FOLDER.parent / "demo-kernels.log"
TASK = "Which species has the longest flippers on average? Use penguins.csv. Plot it."
EXPECTED = "Gentoo"
CELLS = (TASK, "%agent export audit.ipynb")
POLL_SECONDS = 0.2


async def main() -> int:
    """Run the demo; the exit status is 0 only when the answer is right and the record holds."""
    console = Console(highlight=False, soft_wrap=True)
    _prepare()
    console.print(f"[bold]{TASK}[/]\n[dim]344 penguins of Palmer Station, Antarctica: {_shown('penguins.csv')}[/]")
    run = await _ask(console)
    if not run.answered or EXPECTED not in str(run.answer):
        console.print(f"The answer should be {EXPECTED}, not {run.answer!r}. {run.reason}", style="red", markup=False)
        return 1
    if not (FOLDER / "audit.ipynb").is_file():
        console.print("There is no audit notebook.", style="red")
        return 1

    console.print("\nRunning the audit notebook again, on a plain Python kernel without Cellwright ...")
    began = time.monotonic()
    if differences := list(await _verify(FOLDER / "audit.ipynb")):
        console.print("The record does not hold:", *differences, sep="\n", style="red", markup=False)
        return 1
    console.print(f"[bold green]Every output is the same[/] ({time.monotonic() - began:.1f} s).")
    _say_how_to_go_on(console, run)
    return 0


def _prepare() -> None:
    from palmerpenguins import load_penguins

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("audit.ipynb", "penguins.ipynb"):
        (FOLDER / name).unlink(missing_ok=True)
    load_penguins().to_csv(FOLDER / "penguins.csv", index=False)
    # The same for everybody, and free, unless somebody asks for another.
    os.environ.setdefault("CELLWRIGHT_MODEL", "embedded")
    if default_path() is None:
        os.environ["CELLWRIGHT_JOURNAL"] = str(FOLDER.parent / "demo-journal.sqlite")


async def _ask(console: Console) -> Run:
    """Execute a notebook of the Cellwright kernel, and print the run as it goes on."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from nbformat import v4

    made = v4.new_notebook(cells=[v4.new_code_cell(source) for source in CELLS])  # type: ignore[no-untyped-call]
    executing = asyncio.ensure_future(_execute(made, "cellwright"))
    run = await _follow(console, executing)
    try:
        _save(await executing, FOLDER / "penguins.ipynb")
    except CellExecutionError as error:
        console.print(f"{error.ename}: {error.evalue}", style="red", markup=False)
    except DeadKernelError:
        console.print(f"The kernel's process ended; {LOG} may say why.", style="red", markup=False)
    return run


async def _follow(console: Console, executing: asyncio.Future[Any]) -> Run:
    """Show the run that begins now, from the journal, until the notebook is done."""
    view, run = ConsoleView(console), Run()
    view.wait("starting the kernel")
    async with Journal(default_path()) as journal:
        before = {known.id for known in await journal.runs(200)}
        while True:
            was_done = executing.done()  # asked before reading, so that the last events are read after the end
            await asyncio.wait({executing}, timeout=POLL_SECONDS)
            for event in await _news(journal, run, before):
                run.add(event)
                view.take(event)
            if was_done:
                break
    view.close()
    return run


async def _news(journal: Journal, run: Run, before: set[str]) -> Sequence[Event]:
    """Events of the run that are on record and not yet in `run`; of the run that is new when it is still empty."""
    if run.id:
        return (await journal.run(run.id)).events[len(run.events) :]
    new = [known.id for known in await journal.runs(5) if known.id not in before and known.task == TASK]
    return (await journal.run(new[0])).events if new else ()


async def _verify(path: Path) -> Iterator[str]:
    """What differs between the outputs on record and those of a new execution."""
    import nbformat

    recorded = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    again = await _execute(nbformat.read(path, as_version=4), "python3")  # type: ignore[no-untyped-call]
    pairs = zip(recorded.cells, again.cells, strict=True)
    return (
        f"cell {number}: {_essence(before)} is now {_essence(after)}"
        for number, (before, after) in enumerate(pairs, 1)
        if before.cell_type == "code" and _essence(before) != _essence(after)
    )


def _essence(cell: NotebookNode) -> list[object]:
    """The outputs of a cell, pictures included; without tracebacks, which name files."""
    return [
        (output.ename, output.evalue) if output.output_type == "error" else output.get("text") or dict(output.data)
        for output in cell.outputs
    ]


async def _execute(made: NotebookNode, kernel_name: str) -> NotebookNode:
    from nbclient import NotebookClient
    from traitlets.config import Config

    place = {"metadata": {"path": str(FOLDER)}}
    # Files as sockets: a port that was free a moment ago may be taken, and then the kernel dies on starting.
    with TemporaryDirectory(prefix="cw-") as folder, LOG.open("a") as log:
        sockets = Config({"KernelManager": {"transport": "ipc", "connection_file": f"{folder}/k.json"}})
        client = NotebookClient(made, kernel_name=kernel_name, timeout=None, resources=place, config=sockets)
        # What kernels say on starting would stand between the steps.
        return await client.async_execute(stdout=log, stderr=log)


def _save(made: NotebookNode, path: Path) -> None:
    import nbformat

    made.metadata["kernelspec"] = {"name": "cellwright", "display_name": "Cellwright", "language": "markdown"}
    nbformat.write(made, path)  # type: ignore[no-untyped-call]


def _shown(name: str) -> str:
    path = FOLDER / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _say_how_to_go_on(console: Console, run: Run) -> None:
    console.print(
        f"""
The notebook:        {_shown("penguins.ipynb")}
The audit notebook:  {_shown("audit.ipynb")}
The run again:       .venv/bin/cellwright show {run.id}

Go on:  `make lab` opens JupyterLab there; choose the kernel Cellwright and write a task into a cell.
The embedded model is small. For more, set a key (e.g. ANTHROPIC_API_KEY) first, or `--model NAME` in the cell.""",
        markup=False,
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
