"""The audit notebook: exact, valid, and run again on a real kernel that can't import us.

`python tests/test_export.py` writes the golden notebooks anew; look at the difference before you commit it.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellwright.errors import ExportError
from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Event,
    NoAction,
    Outcome,
    Output,
    ReplyReceived,
    RunEnded,
    RunStarted,
    Status,
    ToolCalled,
    ValuePut,
)
from cellwright.facts import SandboxFacts, ToolFacts, Totals, Usage
from cellwright.notebook.export import notebook, write
from cellwright.outputs import CellOutput, Display, Failure, Json, Stream
from cellwright.run import Run

GOLDEN = Path(__file__).parent / "golden"
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
).decode()
SANDBOX = SandboxFacts("child-kernel", "process", "host", "python3", "3.11.7", "work", packages={"pandas": "3.1.1"})
SEARCH = ToolFacts(
    name="search",
    description='Search the catalogue. Really?\n%%bash\n!echo """it\'s""" CALLS TOOLS \\',
    parameters={"type": "object", "properties": {"query": {"type": "string"}}},
    signature="search(query: str, limit: int = 10) -> list[str]",
)


# ---- runs, made by hand ---------------------------------------------------------------------------------------------


def a_run(task: str, *steps: Sequence[Event], run_id: str = "run-1", time: float = 1.8e9, **more: Any) -> Run:
    """A run of these steps, numbered as the loop would do it."""
    status: Status = more.pop("status", "success")
    reason: str = more.pop("reason", "")
    values: Sequence[Event] = more.pop("values", ())
    more = {"model": "anthropic/claude-sonnet-4-5", "sandbox": SANDBOX, "version": "0.1.0", **more}
    body = [event for step in steps for event in step]
    replies = [event for event in body if isinstance(event, ReplyReceived)]
    usage = Usage()
    for reply in replies:
        usage += reply.usage
    totals = Totals(len(replies), 1.5 * len(replies), usage, 0.001 * len(replies))
    listed: list[Event] = [
        RunStarted(run_id=run_id, conversation="talk-1", task=task, **more),
        *values,
        *body,
        RunEnded(status=status, reason=reason, totals=totals),
    ]
    return Run(replace(event, seq=seq, time=time + seq / 8) for seq, event in enumerate(listed))


def a_step(
    number: int,
    thought: str,
    code: str,
    *outputs: CellOutput,
    outcome: Outcome = "ok",
    note: str = "",
    calls: Sequence[ToolCalled] = (),
    answer: AnswerGiven | None = None,
    state_lost: bool = False,
) -> list[Event]:
    text = f"{thought}\n```python\n{code}\n```"
    return [
        ReplyReceived(
            step=number,
            text=text,
            usage=Usage(900, 60, cached=800),
            cost=0.001,
            seconds=1.2,
            model="claude-x",
            cut=True,
        ),
        ActionProposed(step=number, thought=thought, code=code),
        ActionDecided(step=number, verdict="approved", by="auto", code=code),
        *(Output(step=number, output=output) for output in outputs),
        *calls,
        *([answer] if answer else []),
        ActionFinished(step=number, outcome=outcome, seconds=0.1, note=note, state_lost=state_lost),
    ]


def an_answer(step: int, value: Json, text: str | None = None, **data: Json) -> AnswerGiven:
    bundle = {"text/plain": repr(value) if text is None else text, **data}
    return AnswerGiven(step=step, data=bundle, value=value, has_value=True, type_name=type(value).__name__)


def a_call(step: int, *args: Json, result: Json = None, error: str | None = None, **kwargs: Json) -> ToolCalled:
    return ToolCalled(step=step, name="search", args=args, kwargs=kwargs, result=result, error=error)


def by_hand(code: str, *outputs: CellOutput, run_id: str, time: float) -> Run:
    events: list[Event] = [
        ActionDecided(step=1, verdict="approved", by="person", code=code),
        *(Output(step=1, output=output) for output in outputs),
        ActionFinished(step=1, outcome="ok", seconds=0.1),
    ]
    return a_run(code, events, run_id=run_id, time=time, author="person", model="")


def error_step(number: int) -> list[Event]:
    failure = Failure("ZeroDivisionError", "division by zero", ("Traceback", "ZeroDivisionError: division by zero"), 2)
    return a_step(number, "Divide.", "print('before')\n1 / 0", Stream("stdout", "before\n"), failure, outcome="error")


def short() -> list[Run]:
    """One task, one error, one answer."""
    last = a_step(2, "Answer then.", "final_answer(6 * 7)\nprint('never')", answer=an_answer(2, 42))
    return [a_run("What is six times seven?", error_step(1), last)]


def table_bytes() -> str:
    import pandas as pd
    import pyarrow as pa

    arrow = pa.Table.from_pandas(pd.DataFrame({"name": ["Ada", "Zoë"], "age": [36, 41]}))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.schema) as stream:
        stream.write_table(arrow)
    return base64.b64encode(sink.getvalue()).decode()


TABLE_CODE = "top = people.nlargest(1, 'age')\nprint(len(people), settings['größe'])\ntop"


def table_output() -> CellOutput:
    import pandas as pd

    top = pd.DataFrame({"name": ["Ada", "Zoë"], "age": [36, 41]}).nlargest(1, "age")
    html = top.to_html(notebook=True) if hasattr(top, "to_html") else ""
    html = re.sub(r"^<table", "<table", html)
    return Display({"text/plain": repr(top), "text/html": top._repr_html_() or html}, is_result=True)  # type: ignore[operator]


def rich() -> list[Run]:
    """A conversation with about everything in it: values, tools, pictures, a person's cell, a dead sandbox."""
    values = [
        ValuePut(name="people", form="table", value=table_bytes()),
        ValuePut(
            name="settings", form="json", value={"größe": 1.5, "names": ["a", None, True], "text": "''' \\ \"\"\""}
        ),
    ]
    picture = f"from IPython.display import Image\nimport base64\nImage(base64.b64decode('{PNG}'))"
    tools = "\n".join(
        [
            "found = [search('x', limit=2), search('x', limit=2)]",
            "try:",
            "    search('y')",
            "except RuntimeError as error:",
            "    found.append(str(error))",
            "found",
        ]
    )
    calls = [
        a_call(3, "x", limit=2, result=["ü", '"""']),
        a_call(3, "x", limit=2, result=[]),
        a_call(3, "y", error="The catalogue is closed."),
    ]
    found = Display({"text/plain": "[['ü', '\"\"\"'], [], 'The catalogue is closed.']"}, is_result=True)
    in_try = (
        "try:\n    if found:\n        final_answer({'oldest': 'Zoë'})\n"
        "except Exception:\n    print('caught')\nprint('never')"
    )
    first = a_run(
        "Who is oldest? | ``` <b>Markup</b>\nTwo lines.",
        a_step(1, "Look at the *table*.", TABLE_CODE, Stream("stdout", "2 1.5\n"), table_output()),
        a_step(
            2,
            "Draw.",
            picture,
            Display({"image/png": PNG, "text/plain": "<IPython.core.display.Image object>"}, is_result=True),
        ),
        a_step(3, "Use the tool.", tools, found, calls=calls),
        a_step(4, "", in_try, answer=an_answer(4, {"oldest": "Zoë"})),
        values=values,
        tools=(SEARCH,),
    )
    human = by_hand(
        "found = 7\nprint('by hand', len(people))", Stream("stdout", "by hand 2\n"), run_id="run-2", time=1.8e9 + 60
    )
    denied = [
        *a_step(1, "Remove.", "import shutil\nshutil.rmtree('/')")[:2],
        ActionDecided(
            step=1, verdict="denied", by="ask-risky", code="import shutil\nshutil.rmtree('/')", reason="It deletes."
        ),
        ActionFinished(step=1, outcome="denied", seconds=0.0, note="It deletes."),
    ]
    silent: list[Event] = [
        ReplyReceived(step=2, text="I would rather talk.", usage=Usage(900, 60), cost=None, seconds=1.0),
        NoAction(step=2, note="Your reply had no Python code block, so nothing was run."),
    ]
    second = a_run(
        "And now?",
        denied,
        silent,
        a_step(
            3,
            "Crash.",
            "import os\nprint('```')\nos._exit(1)",
            Stream("stdout", "```\n"),
            calls=[a_call(3, "z", result=1)],
            outcome="died",
            state_lost=True,
            note="It ended by itself (exit status 1).",
        ),
        a_step(
            4,
            "See what is left.",
            "print('found' in globals(), 'people' in globals())\nexit()",
            Stream("stdout", "False False\n"),
            Stream("stderr", "The sandbox stays. Call final_answer(value) to end the task.\n"),
        ),
        a_step(
            5,
            "Wait and answer.",
            "import asyncio\nawait asyncio.sleep(0.01)\nfinal_answer(None)",
            answer=an_answer(5, None),
        ),
        run_id="run-3",
        time=1.8e9 + 120,
        tools=(SEARCH,),
    )
    return [first, human, second]


GOLDENS = {"short": short, "rich": rich}


# ---- exact and valid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDENS)
def test_f1_the_notebook_is_exactly_the_golden_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / "made.ipynb"
    write(GOLDENS[name](), path)
    made, golden = json.loads(path.read_text()), json.loads((GOLDEN / f"{name}.ipynb").read_text())
    assert without_tables(made) == without_tables(golden)


def without_tables(made: Any) -> Any:
    """Arrow streams and pandas' HTML differ from version to version of their libraries; all else may not."""
    text = re.sub(r'(# A table that a person gave\.\\n", "people = _table).*?(\\"\\"\\"\)")', r"\1\2", json.dumps(made))
    return re.sub(r'"text/html": \[.*?\]', '"text/html": []', text)


@pytest.mark.parametrize("name", GOLDENS)
def test_f1_it_is_valid_and_knows_nothing_of_us(name: str) -> None:
    import nbformat

    made = notebook(GOLDENS[name]())
    nbformat.validate(made)
    assert (made.nbformat, made.nbformat_minor) == (4, 5)
    assert made.metadata.kernelspec.name == "python3"
    assert "not isolated" in made.cells[0].source
    for cell in made.cells:
        if cell.cell_type == "code":
            assert "cellwright" not in cell.source.lower(), "it must run without us"
    assert len({cell.id for cell in made.cells}) == len(made.cells)


def test_f1_provenance_is_in_the_metadata() -> None:
    made = notebook(rich())
    facts = made.metadata.cellwright
    assert (facts.schema, facts.conversation) == (1, "talk-1")
    assert [run.started.run_id for run in facts.runs] == ["run-1", "run-2", "run-3"]
    assert facts.runs[0].started.sandbox.isolation == "process"
    assert facts.runs[0].ended.totals.usage.cached == 3200
    thought = next(cell.metadata.cellwright for cell in made.cells if cell.metadata.cellwright.role == "thought")
    assert thought.reply.model == "claude-x"
    assert thought.reply.usage.prompt == 900
    called = next(cell.metadata.cellwright for cell in made.cells if "calls" in cell.metadata.cellwright)
    assert [call.args for call in called.calls] == [["x"], ["x"], ["y"]]
    assert called.decided.by == "auto"


def test_an_edit_keeps_what_was_proposed() -> None:
    step = a_step(1, "Try.", "new()")
    step[1] = ActionProposed(step=1, thought="Try.", code="old()")
    step[2] = ActionDecided(step=1, verdict="edited", by="person", code="new()", reason="Better so.")
    made = notebook([a_run("x", step)])
    action = next(cell for cell in made.cells if cell.metadata.cellwright.role == "action")
    assert action.source == "new()"
    assert action.metadata.cellwright.proposed.code == "old()"
    assert any("**Edited** by `person` before it ran. Better so." in cell.source for cell in made.cells)


def test_an_unconfirmed_answer_and_an_unfinished_run_are_called_so() -> None:
    silent: list[Event] = [
        ReplyReceived(step=1, text="It is 42.", usage=Usage(), cost=None, seconds=1.0),
        NoAction(step=1, note="No code."),
        replace(an_answer(1, "It is 42.", "It is 42."), confirmed=False),
    ]
    made = notebook([a_run("x", silent, status="failed", reason="The model wrote no code.")])
    assert any("**Answer, unconfirmed**" in cell.source and "> It is 42." in cell.source for cell in made.cells)
    assert made.cells[-1].source.startswith("**Failed**: The model wrote no code.")
    cut = notebook([Run(a_run("x", a_step(1, "t", "while True: pass")).events[:4])])
    assert not any("while True" in cell.source for cell in cut.cells if cell.cell_type == "code")
    assert any("was under way when the record ends" in cell.source for cell in cut.cells)
    assert cut.cells[-1].source.startswith("**Unfinished")


def test_a_restart_between_two_runs_begins_anew() -> None:
    later = a_run("b", a_step(1, "t", "1"), run_id="run-2", sandbox=replace(SANDBOX, instance=2))
    made = notebook([a_run("a", a_step(1, "t", "x = 1")), later])
    assert [cell.source for cell in made.cells if cell.cell_type == "code"][-2].startswith("_begin_anew()")
    lost = a_run("a", a_step(1, "t", "x", outcome="died", state_lost=True), a_step(2, "t", "y = 1"))
    made = notebook([lost, later])
    assert sum(cell.source.startswith("_begin_anew()") for cell in made.cells) == 1, "y is still there"


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.ipynb"
    path.write_text("old")
    write(short(), path)
    assert json.loads(path.read_text())["nbformat"] == 4
    with pytest.raises(ExportError, match="can't be written") as error:
        write(short(), tmp_path / "missing" / "out.ipynb")
    assert "\n" not in str(error.value)
    with pytest.raises(ExportError, match="no run"):
        write([], path)
    write([a_run("x", a_step(1, "half a character: \ud83d", "print('\ud83d')"))], path)
    assert "half a character: ?" in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["out.ipynb"]


def test_a_long_run_is_exported(tmp_path: Path) -> None:
    import nbformat

    run = a_run("x", *(a_step(n, "Think.", f"print({n})", Stream("stdout", f"{n}\n")) for n in range(1, 1001)))
    write([run], tmp_path / "long.ipynb")
    cells = nbformat.read(tmp_path / "long.ipynb", as_version=4).cells  # type: ignore[no-untyped-call]
    assert [cell.source for cell in cells if cell.cell_type == "code"][-1000:] == [
        f"print({n})" for n in range(1, 1001)
    ]


# ---- run again ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", GOLDENS)
async def test_f2_run_again_without_us_it_shows_the_same(name: str, without_us: Path, tmp_path: Path) -> None:
    path = tmp_path / "made.ipynb"
    write(GOLDENS[name](), path)
    recorded = notebook(GOLDENS[name]())
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


def test_e4_nbconvert_makes_html_of_it(tmp_path: Path) -> None:
    path = tmp_path / "made.ipynb"
    write(rich(), path)
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    html = path.with_suffix(".html").read_text()
    assert "Look at the <em>table</em>" in html
    assert "denied by" in html


if __name__ == "__main__":
    for golden_name, make in GOLDENS.items():
        write(make(), GOLDEN / f"{golden_name}.ipynb")
