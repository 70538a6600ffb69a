"""The audit notebook is run again: on a real kernel that can't import us, and on other values by papermill."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit_runs import GOLDENS, SEARCH, a_call, a_run, a_step, an_answer, rich, table_shown_here
from cellwright import ScriptedModel, ToolCallingAgent, tool
from cellwright.events import InputGiven, ValuePut
from cellwright.facts import ToolUse
from cellwright.notebook.export import notebook, write
from cellwright.notebook.inspection import inspect
from cellwright.notebook.likeness import Degree, compare_outputs
from cellwright.outputs import CellOutput, Display, Failure, Stream
from cellwright.run import Run


@pytest.fixture
def without_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, and a `python3` kernel in which Cellwright can't be imported."""
    boot = (
        "import sys; sys.modules.update({'cellwright': None, 'cellwright_extension': None, 'cellwright_kernel': None});"
        "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
    )
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-c", boot, "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


async def run_again(path: Path, folder: Path) -> Any:
    """The notebook at `path`, executed; an error that is not marked as expected raises."""
    from tempfile import TemporaryDirectory

    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    made = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    place = {"metadata": {"path": str(folder)}}
    # Files as sockets: a port that was free a moment ago may be taken by another test's kernel.
    with TemporaryDirectory(prefix="cw-") as short:
        sockets = Config({"KernelManager": {"transport": "ipc", "connection_file": f"{short}/k.json"}})
        client = NotebookClient(made, timeout=60, kernel_name="python3", resources=place, config=sockets)
        return await client.async_execute()


def essence(outputs: Any) -> list[Any]:
    """Outputs without what may differ: tracebacks, and how a stream was cut into pieces."""
    found: list[Any] = []
    for output in outputs:
        if output.output_type == "stream":
            text = output.text if isinstance(output.text, str) else "".join(output.text)
            found.append((output.name, text))
        elif output.output_type == "error":
            found.append((output.ename, output.evalue))
        else:
            found.append((output.output_type, {mime: joined(mime, data) for mime, data in output.data.items()}))
    return found


def joined(mime: str, data: Any) -> Any:
    return "".join(data).rstrip("\n") if isinstance(data, (str, list)) else data


RUNS: dict[str, Callable[[], list[Run]]] = {**GOLDENS, "rich": lambda: rich(table_shown_here())}
"""The golden ones, with what the pandas that is installed shows."""


@pytest.mark.parametrize("name", RUNS)
async def test_f2_run_again_without_us_it_shows_the_same(name: str, without_us: Path, tmp_path: Path) -> None:
    path = tmp_path / "made.ipynb"
    write(RUNS[name](), path)
    recorded = notebook(RUNS[name]())
    executed = await run_again(path, without_us)
    for before, after in zip(recorded.cells, executed.cells, strict=True):
        if before.cell_type == "code":
            assert essence(after.outputs) == essence(before.outputs), before.source
            assert after.execution_count == before.execution_count


async def test_f2_a_call_that_differs_from_the_record_fails_clearly(without_us: Path, tmp_path: Path) -> None:
    code = "search('other', limit=3)"
    failure = Failure("ToolCallError", "closed")
    run = a_run(
        "x",
        a_step(1, "t", code, failure, calls=[a_call(1, "x", result=1)], outcome="error"),
        a_step(2, "t", "search(numbers)", calls=[a_call(2, [1, 2], result="ok")]),
        values=[ValuePut(name="numbers", form="json", value=[1, 2])],
        tools=(SEARCH,),
    )
    path = tmp_path / "made.ipynb"
    write([run], path)
    executed = await run_again(path, without_us)
    error = next(output for cell in executed.cells for output in cell.get("outputs", ()) if "ename" in output)
    assert error.ename == "ToolCallError"
    assert "no record, or no further one, of the call search('other', limit=3)" in error.evalue
    assert essence(executed.cells[-2].outputs) == [("execute_result", {"text/plain": "'ok'"})]


async def test_f2_what_was_typed_is_given_again_and_what_was_hidden_is_said(without_us: Path, tmp_path: Path) -> None:
    code = "import getpass\nfirst = input('Name: ')\ngetpass.getpass('Key: ')"
    step = a_step(1, "t", code, Failure("EOFError", "closed"), outcome="error")
    step[3:3] = [InputGiven(step=1, prompt="Name: ", value="Ada"), InputGiven(step=1, prompt="Key: ", value=None)]
    more = "try:\n    input('More?')\nexcept RuntimeError as error:\n    print(error)"
    path = tmp_path / "made.ipynb"
    write([a_run("x", step, a_step(2, "t", "first"), a_step(3, "t", more))], path)
    cells = (await run_again(path, without_us)).cells
    shown = [essence(cell.outputs) for cell in cells if cell.metadata.cellwright.role == "action"]
    assert shown[0] == [("_NotOnRecord", "What was typed at 'Key: ' was hidden, so it is on no record.")]
    assert shown[1] == [("execute_result", {"text/plain": "'Ada'"})]
    assert "no record, or no further one, of what was typed at 'More?'" in shown[2][0][1]


def papermill(*arguments: object) -> str:
    command = [sys.executable, "-m", "papermill", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_f7_papermill_runs_the_analysis_on_other_values(without_us: Path, tmp_path: Path) -> None:
    values = [ValuePut(name="numbers", form="json", value=[1, 2]), ValuePut(name="unit", form="json", value="m")]
    steps = a_step(1, "Add.", "final_answer(f'{sum(numbers)} {unit}')", answer=an_answer(1, "3 m"))
    runs = [a_run("Add.", steps, values=values), a_run("x", values=values, run_id="run-2")]
    path, out = tmp_path / "made.ipynb", tmp_path / "out.ipynb"
    write(runs, path)
    tags = [cell.metadata.tags for cell in notebook(runs).cells if "tags" in cell.metadata]
    assert tags == [["cellwright-preamble"], ["parameters"]], "papermill looks for one"
    known = papermill("--help-notebook", path)
    assert "numbers: Unknown type" in known
    assert "unit: Unknown type" in known
    papermill(path, out, "-y", "numbers: [10, 20]", "--cwd", without_us)
    shown = json.dumps([cell.get("outputs") for cell in json.loads(out.read_text())["cells"]])
    assert "'30 m'" in shown
    assert "'3 m'" not in shown


async def test_f2_function_calls_are_made_again_with_their_results_by_name(without_us: Path, tmp_path: Path) -> None:
    @tool
    async def double(x: int) -> int:
        """Double a number."""
        await asyncio.sleep(0.2 if x == 4 else 0)  # the second call ends first
        if x < 0:
            raise ValueError("too small")
        return 2 * x

    model = ScriptedModel(
        [
            ToolUse("c1", "double", '{"x": 4}'),
            ToolUse("c2", "double", '{"x": 5}'),
            ToolUse("c3", "double", '{"x": -1}'),
        ],
        [ToolUse("c4", "double", '{"x": "result_1"}')],
        [ToolUse("c5", "nothing", "{}")],
        [ToolUse("c6", "final_answer", '{"answer": "result_1"}')],
        [ToolUse("c7", "final_answer", '{"answer": "Sixteen\\n\\n*in words*"}')],
    )
    agent = ToolCallingAgent(model, tools=[double], journal=None)
    runs = [await agent.run("Double."), await agent.run("In words.")]
    assert [run.answer for run in runs] == [16, "Sixteen\n\n*in words*"]
    path = tmp_path / "made.ipynb"
    write(runs, path)
    recorded, executed = notebook(runs), await run_again(path, without_us)
    shown = [cell for cell in recorded.cells if cell.metadata.cellwright.role == "action"]
    assert shown[0].source == "result_1 = double(x=4)\nresult_2 = double(x=5)\ndouble(x=-1)"
    assert shown[0].outputs[0].text == "result_1 = double: 8\nresult_2 = double: 10\n"
    assert [cell.source for cell in shown[1:4:2]] == ["result_1 = double(x=result_1)", "final_answer(answer=result_1)"]
    assert shown[2].source == "nothing()"
    for before, after in zip(recorded.cells, executed.cells, strict=True):
        if before.cell_type == "code":
            assert essence(after.outputs) == essence(before.outputs), before.source


COMMITTED = sorted(Path(__file__).parents[1].glob("notebooks/audits/*.ipynb"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
async def test_f2_the_audit_notebooks_of_the_project_hold(path: Path, without_us: Path) -> None:
    """They are as they were written, and give the same again on a kernel without us, in a folder with their table."""
    book = with_tables(path, without_us)
    assert inspect(book).changes == []
    executed = await run_again(path, without_us)
    then = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    now = [cell for cell in executed.cells if cell.cell_type == "code"]
    found = [compare_outputs(shown(old["outputs"]), shown(new.outputs)) for old, new in zip(then, now, strict=True)]
    assert max(one.degree for one in found) <= Degree.HARMLESS, found
    assert sum(len(cell["outputs"]) for cell in then) > 0


def test_f2_there_are_three_of_them_at_least() -> None:
    assert len(COMMITTED) >= 3


def with_tables(path: Path, folder: Path) -> Any:
    """The notebook as JSON data; the tables that lie beside it are copied into the folder."""
    for table in path.parent.glob("*.csv"):
        shutil.copy(table, folder)
    return json.loads(path.read_text("utf-8"))


def shown(outputs: Any) -> list[CellOutput]:
    """Outputs of a notebook as those of a sandbox."""
    found: list[CellOutput] = []
    for output in outputs:
        if output["output_type"] == "stream":
            found.append(Stream(output["name"], joined("", output["text"])))
        elif output["output_type"] == "error":
            found.append(Failure(output["ename"], output["evalue"]))
        else:
            found.append(Display({mime: joined(mime, data) for mime, data in output["data"].items()}))
    return found
