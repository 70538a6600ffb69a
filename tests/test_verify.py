"""Rows F2, F3: an audit notebook that was tampered with is found out, and what was changed is named."""

# ruff: noqa: E501 - the table of kinds reads better with a kind a line

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
import pytest_asyncio

from cellwright import CodeAgent, ScriptedModel, tool
from cellwright.chain import link
from cellwright.events import ActionDecided, ActionFinished, RunStarted
from cellwright.facts import FileFacts
from cellwright.journal import Journal
from cellwright.lineage import Part
from cellwright.notebook.export import write
from cellwright.notebook.inspection import inspect
from cellwright.notebook.likeness import Degree
from cellwright.notebook.metadata import NoRecord
from cellwright.notebook.verify import Verdict, verify
from cellwright.outputs import plain_text
from cellwright.rebuild import Redone, rebuild
from cellwright.run import Run, Step
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation

modular = pytest.mark.asyncio(loop_scope="module")
Book = dict[str, Any]


@tool
def price(item: str) -> float:
    """The price of an item in euros."""
    return 12.5


def reply(thought: str, code: str) -> str:
    return f"{thought}\n```python\n{code}\n```"


STEPS = (
    reply("Ask for the price.", "import sys\np = price('rope')\nprint('price', p)\nprint('careful', file=sys.stderr)"),
    reply("A mistake.", "print('before')\n1 / 0"),
    reply(
        "A table and a picture.",
        "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': [0.5, p]})\ndisplay(df)\n"
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
    ),
    reply("Answer.", "final_answer({'total': 3 * p})"),
    reply("Again.", "k = n + 1\nfinal_answer(k)"),
)


def sandbox(_: str = "") -> ChildKernel:
    return ChildKernel(isolation=Isolation(level="process"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def file(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """An audit notebook of two tasks: a tool, printed text, an error, a table, a picture, an answer, a value."""
    folder = tmp_path_factory.mktemp("audit")
    journal = Journal(folder / "journal.sqlite")
    async with CodeAgent(ScriptedModel(*STEPS), tools=[price], sandbox=sandbox(), journal=journal) as agent:
        await agent.run("What do three ropes cost?")
        last = await agent.run("Count.", additional_args={"n": 6})
        assert last.answer == 7
        write(await journal.records(agent.conversation), folder / "audit.ipynb")
    yield folder / "audit.ipynb"


@pytest.fixture
def book(file: Path) -> Book:
    found: Book = json.loads(file.read_text("utf-8"))
    return found


# ---- untouched ------------------------------------------------------------------------------------------------------


def test_f3_an_untouched_notebook_passes(book: Book) -> None:
    assert inspect(book).changes == []


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def as_jupyterlab(book: Book) -> Book:
    """As JupyterLab saves it: texts as lists of lines or not, new ids, counts, its own metadata, whole floats as ints."""
    text = json.dumps(book)
    made: Book = json.loads(
        text, parse_float=lambda text: int(float(text)) if float(text).is_integer() else float(text)
    )
    made["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    made["metadata"]["language_info"] = {"name": "python", "version": "3.99"}
    made["metadata"]["widgets"] = {}
    for number, cell in enumerate(made["cells"]):
        cell["id"] = f"new-{number}"
        cell["metadata"] |= {"collapsed": False, "execution": {"iopub.status.busy": "2026-01-01"}, "trusted": True}
        cell["source"] = lines(cell["source"]) if isinstance(cell["source"], str) else "".join(cell["source"])
        if cell["cell_type"] == "code":
            cell["execution_count"] = number + 40
            for output in cell["outputs"]:
                output.setdefault("metadata", {})["isolated"] = True
    return made


def test_f3_saved_again_by_jupyterlab_or_nbformat_it_passes(book: Book, tmp_path: Path) -> None:
    assert inspect(as_jupyterlab(book)).changes == []
    again = nbformat.from_dict(book)  # type: ignore[no-untyped-call]
    nbformat.write(again, tmp_path / "again.ipynb")  # type: ignore[no-untyped-call]
    assert inspect(json.loads((tmp_path / "again.ipynb").read_text())).changes == []
    assert inspect(json.loads(json.dumps(book, indent=4, sort_keys=True))).changes == []


# ---- tampered with --------------------------------------------------------------------------------------------------


def cell(book: Book, role: str, step: int | None = None) -> Book:
    found: Book = next(
        cell
        for cell in book["cells"]
        if cell["metadata"]["cellwright"]["role"] == role
        and (step is None or cell["metadata"]["cellwright"].get("step") == step)
    )
    return found


def index(book: Book, role: str, step: int | None = None) -> int:
    return int(book["cells"].index(cell(book, role, step)))


def text_of(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def replaced(place: Book, key: str, old: str, new: str) -> None:
    text = text_of(place[key])
    assert old in text
    place[key] = text.replace(old, new, 1)


def output(book: Book, step: int, kind: str, mime: str = "") -> Book:
    found: Book = next(
        output
        for output in cell(book, "action", step)["outputs"]
        if output["output_type"] == kind and (not mime or mime in output["data"])
    )
    return found


def run(book: Book, number: int = 0) -> Book:
    found: Book = book["metadata"]["cellwright"]["runs"][number]
    return found


def change_event(book: Book, kind: str, old: str, new: str, *, relink: bool = False) -> None:
    """Change an event of the record; `relink`: make all links after it fit again."""
    record = run(book)["record"]
    at = next(number for number, line in enumerate(record) if f'"kind":"{kind}"' in line and old in line)
    record[at] = record[at].replace(old, new)
    if relink:
        before = run(book)["before"]
        for number, line in enumerate(record):
            body = line.partition(" ")[2]
            before = link(before, body)
            record[number] = f"{before} {body}"
        run(book)["link"] = before


def swap(items: list[Any], one: int, other: int) -> None:
    items[one], items[other] = items[other], items[one]


def drop_event(book: Book, at: int) -> None:
    del run(book)["record"][at]


KINDS: dict[str, tuple[Callable[[Book], Any], str]] = {
    "a digit of the code": (lambda b: replaced(cell(b, "action", 4), "source", "3 * p", "4 * p"), r"step 4.*code"),
    "a blank line of code that does something": (lambda b: replaced(cell(b, "action", 1), "source", "p = ", "#p = "), r"step 1.*code"),
    "the thought": (lambda b: replaced(cell(b, "thought", 1), "source", "Ask", "Guess"), r"step 1, thought"),
    "the task": (lambda b: replaced(cell(b, "task"), "source", "three", "four"), r"task of run"),
    "the head": (lambda b: replaced(cell(b, "head"), "source", "scripted", "claude"), r"head"),
    "the end": (lambda b: replaced(cell(b, "end"), "source", "Success", "Failed"), r"end of run"),
    "the preamble": (lambda b: replaced(cell(b, "preamble"), "source", "12.5", "99.5"), r"preamble"),
    "a value that was given": (lambda b: replaced(cell(b, "value"), "source", "6", "7"), r"value"),
    "a digit that was printed": (lambda b: replaced(output(b, 1, "stream"), "text", "12.5", "13.5"), r"step 1.*output"),
    "what stderr said": (lambda b: cell(b, "action", 1)["outputs"].pop(1), r"step 1.*1 outputs instead of 2"),
    "a digit of a table": (lambda b: replaced(output(b, 3, "display_data", "text/html")["data"], "text/html", "0.5", "0.6"), r"step 3.*output"),
    "a pixel of a picture": (lambda b: replaced(output(b, 3, "display_data", "image/png")["data"], "image/png", "A", "B"), r"step 3.*output|record.*missing"),
    "the answer": (lambda b: replaced(output(b, 4, "display_data")["data"], "text/plain", "37.5", "38.5"), r"step 4.*output"),
    "the error": (lambda b: output(b, 2, "error").update(evalue="nothing"), r"step 2.*output"),
    "the error is taken away": (lambda b: cell(b, "action", 2)["outputs"].pop(), r"step 2.*1 outputs instead of 2"),
    "outputs are cleared": (lambda b: cell(b, "action", 3).update(outputs=[]), r"step 3.*0 outputs"),
    "an output is added": (lambda b: cell(b, "action", 4)["outputs"].append({"output_type": "stream", "name": "stdout", "text": "x"}), r"step 4.*2 outputs instead of 1"),
    "a cell is removed": (lambda b: b["cells"].pop(index(b, "action", 2)), r"step 2, action.*removed"),
    "a thought is removed": (lambda b: b["cells"].pop(index(b, "thought", 3)), r"step 3, thought.*removed"),
    "a cell is added": (lambda b: b["cells"].insert(4, copy.deepcopy(b["cells"][0])), r"cell 5: it was added"),
    "a cell without metadata is added": (lambda b: b["cells"].append({"cell_type": "code", "source": "1", "metadata": {}, "outputs": []}), r"it was added"),
    "two steps change places": (lambda b: swap(b["cells"], index(b, "action", 1), index(b, "action", 3)), r"moved"),
    "a cell becomes Markdown": (lambda b: cell(b, "action", 2).update(cell_type="markdown"), r"step 2.*cell_type"),
    "a tag is removed": (lambda b: cell(b, "action", 2)["metadata"].update(tags=[]), r"step 2.*raises-exception"),
    "the model that answered": (lambda b: cell(b, "thought", 1)["metadata"]["cellwright"]["reply"].update(model="gpt-9"), r"step 1.*model.*gpt-9"),
    "the tokens": (lambda b: cell(b, "thought", 2)["metadata"]["cellwright"]["reply"]["usage"].update(prompt=1), r"step 2.*usage.prompt"),
    "who approved": (lambda b: cell(b, "action", 1)["metadata"]["cellwright"]["decided"].update(by="person"), r"step 1.*decided.by.*person"),
    "a tool's result": (lambda b: cell(b, "action", 1)["metadata"]["cellwright"]["calls"][0].update(result=1), r"step 1.*calls\[0\].result"),
    "the isolation": (lambda b: run(b)["started"]["sandbox"].update(isolation="bwrap"), r"runs\[0\].started.sandbox.isolation"),
    "the limits": (lambda b: run(b)["started"]["limits"].update(steps=99), r"limits.steps"),
    "the version": (lambda b: b["metadata"]["cellwright"].update(version="9"), r"metadata.version"),
    "an event of the record": (lambda b: change_event(b, "tool_called", "12.5", "13.5"), r"event \d+ \(tool_called\).*changed"),
    "an event is removed": (lambda b: drop_event(b, 4), r"event 4 .*(removed|changed)"),
    "the last event is removed": (lambda b: run(b)["record"].pop(), r"runs\[0\].*|end"),
    "two events change places": (lambda b: swap(run(b)["record"], 4, 5), r"event 4 "),
    "an event, its cell left": (lambda b: change_event(b, "tool_called", "12.5", "13.5", relink=True), r"calls\[0\].result|preamble"),
    "a whole run is removed": (lambda b: b["metadata"]["cellwright"]["runs"].pop(0), r"earlier run is missing"),
    "the runs change places": (lambda b: b["metadata"]["cellwright"]["runs"].reverse(), r"does not follow|earlier run"),
    "the first link": (lambda b: run(b).update(before="1" * 64), r"first link was changed"),
}  # fmt: skip


def test_there_are_more_than_thirty_kinds() -> None:
    assert len(KINDS) >= 30


@pytest.mark.parametrize("kind", KINDS)
def test_f3_tampering_is_found_and_named(book: Book, kind: str) -> None:
    change, said = KINDS[kind]
    change(book)
    found = "\n".join(map(str, inspect(book).changes))
    assert re.search(said, found), found


@pytest.mark.parametrize("kind", KINDS)
def test_f3_it_is_found_after_jupyterlab_saved_it_again(book: Book, kind: str) -> None:
    KINDS[kind][0](book)
    assert inspect(as_jupyterlab(book)).changes


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metadata": {}}', '{"metadata": {"cellwright": 7}}', "no json"])
async def test_what_is_no_audit_notebook_is_said_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(text)
    with pytest.raises(NoRecord) as error:
        await verify(path, None)
    assert "\n" not in str(error.value)


# ---- run again ------------------------------------------------------------------------------------------------------


@modular
async def test_f3_run_again_every_output_is_the_same(file: Path) -> None:
    found = await verify(file, sandbox)
    assert found.verdict <= Verdict.HARMLESS, found
    assert [step.where.split(", ")[1] for step in found.steps] == ["step 1", "step 2", "step 3", "step 4", "step 1"]
    assert not found.changes


@modular
async def test_f3_code_that_gives_something_else_now_is_named(tmp_path: Path) -> None:
    code = "import random, time, os\nprint('id', id(object()))\nprint(random.random())"
    async with CodeAgent(
        ScriptedModel(reply("Go.", code), reply("Go.", "final_answer(1)")), sandbox=sandbox(), journal=None
    ) as agent:
        write([await agent.run("Roll.")], tmp_path / "a.ipynb")
    found = await verify(tmp_path / "a.ipynb", sandbox)
    assert found.verdict == Verdict.DIFFERENT and not found.changes
    assert [step.likeness.degree for step in found.steps] == [Degree.DIFFERENT, Degree.SAME]


@modular
async def test_f3_the_journal_knows_a_forged_record(file: Path, book: Book, tmp_path: Path) -> None:
    """Who forges the whole chain and makes all cells anew is found out where the journal is."""
    change_event(book, "reply_received", "Ask for the price.", "Guess the price.", relink=True)
    forged = tmp_path / "forged.ipynb"
    forged.write_text(json.dumps(book))
    async with Journal(file.parent / "journal.sqlite") as journal:
        found = await verify(forged, None, journal=journal)
        assert any("journal of this machine" in change.what for change in found.changes)
        assert not (await verify(file, None, journal=journal)).changes


async def test_f3_an_audit_of_the_project_is_verified_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Isolated, as by default; its table lies beside the notebook, not in the current folder."""
    monkeypatch.chdir(tmp_path)
    book = Path(__file__).parents[1] / "notebooks" / "audits" / "wine.ipynb"
    found = await verify(book, ChildKernel)
    assert found.verdict <= Verdict.HARMLESS, found
    assert [step.likeness.degree for step in found.steps] == [Degree.SAME]
    alone = tmp_path / "alone.ipynb"
    shutil.copy(book, alone)
    missing = await verify(alone, ChildKernel)
    assert missing.verdict == Verdict.DIFFERENT and "The file wine.csv is not there." in missing.notes
    assert "FileNotFoundError" in missing.steps[0].likeness.reasons[0]


async def test_f3_a_record_from_elsewhere_takes_no_file_of_the_person(tmp_path: Path) -> None:
    """Whoever wrote the notebook chose the names of its files; only what lies beside it is handed over."""
    beside, outside = tmp_path / "book", tmp_path / "key.txt"
    beside.mkdir()
    outside.write_text("a secret")
    (beside / "link.txt").symlink_to(outside)
    names = (str(outside), "../key.txt", "link.txt")
    run = Run(
        [
            RunStarted(seq=0, run_id="r", conversation="c", task="t", files=tuple(FileFacts(n, 8, "0") for n in names)),
            ActionDecided(seq=1, step=1, verdict="approved", by="auto", code="import os\nprint(os.listdir())"),
            ActionFinished(seq=2, step=1, outcome="ok", seconds=0.1),
        ]
    )
    kernel = ChildKernel()
    shown: list[str] = []

    async def see(_run: Run, _step: Step, again: Redone, _differs: Sequence[str]) -> None:
        shown.extend(plain_text(output) for output in again.outputs)

    try:
        done = await rebuild(kernel, [Part(run)], beside, see)
    finally:
        await kernel.close()
    assert [note for note in done.notes if "is not there" in note] == done.notes and len(done.notes) == 3
    assert shown == ["[]"]
