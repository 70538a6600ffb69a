"""The record in the audit notebook: word for word, read again with no trust, and enough to make the rest."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_runs import GOLDENS, PNG, a_call, a_run, a_step, an_answer, rich, short
from cellwright.chain import GENESIS, digest
from cellwright.events import Event, ValuePut
from cellwright.journal import Journal
from cellwright.notebook.export import notebook, write
from cellwright.notebook.metadata import Layout, NoRecord, layout_of, read_file, read_record
from cellwright.outputs import CellOutput, Display, Stream
from cellwright.record import Record, fault, is_left_out, record_of
from cellwright.run import Run

PICTURE = PNG * 100
TABLE = "QUJD" * 2000
LONG = "x = 1  # long\n" * 1000


def long_ones() -> list[Run]:
    """A run with a long text in every place."""
    shown: list[CellOutput] = [Display({"image/png": PICTURE, "text/plain": "<Figure>"}), Stream("stdout", LONG)]
    call = a_call(1, LONG, result="result " * 1000)
    table = ValuePut(name="table", form="table", value=TABLE)
    steps = [a_step(1, "Look.", LONG, *shown, calls=[call]), a_step(2, "t", "y", answer=an_answer(2, LONG, "short"))]
    return [a_run("x", *steps, values=[table])]


ALL: dict[str, Callable[[], list[Run]]] = {**GOLDENS, "long": long_ones}


def proof(records: Sequence[Record]) -> list[Any]:
    return [(record.before, [*record.lines], dict(record.blobs), record.note) for record in records]


def as_file(made: Any) -> Any:
    return json.loads(json.dumps(made))


@pytest.mark.parametrize("name", ALL)
def test_f1_the_notebook_holds_every_event_as_it_was(name: str, tmp_path: Path) -> None:
    runs = ALL[name]()
    write(runs, tmp_path / "made.ipynb")
    records = read_record(read_file(tmp_path / "made.ipynb"))
    assert [record.run.events for record in records] == [run.events for run in runs]
    assert proof(records) == proof(record_of(runs))
    assert [fault(record) for record in records] == [None] * len(runs)
    known = read_file(tmp_path / "made.ipynb")["metadata"]["cellwright"]
    assert [run["link"] for run in known["runs"]] == [record.last for record in records]
    assert known["runs"][0]["before"] == GENESIS


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("layout", [Layout(), Layout(is_report=True), Layout(max_output=5000)])
def test_f3_the_record_is_enough_to_make_the_notebook_again(name: str, layout: Layout, tmp_path: Path) -> None:
    write(ALL[name](), tmp_path / "a.ipynb", report=layout.is_report, max_output=layout.max_output)
    made = read_file(tmp_path / "a.ipynb")
    assert layout_of(made) == layout
    write(read_record(made), tmp_path / "b.ipynb", report=layout.is_report, max_output=layout.max_output)
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()


async def test_f1_a_record_of_the_journal_is_the_one_in_the_notebook(tmp_path: Path) -> None:
    (run,) = short()
    async with Journal(tmp_path / "journal.sqlite") as journal:
        for event in run.events:
            await journal.append(run.id, event)
        stored = await journal.records("talk-1")
    kept = notebook(stored).metadata.cellwright.runs[0]
    assert kept.record == [f"{line.link} {line.body}" for line in stored[0].lines]
    assert as_file(notebook(stored)) == as_file(notebook([run]))


def test_f1_a_long_text_stands_in_the_notebook_once(tmp_path: Path) -> None:
    write(long_ones(), tmp_path / "made.ipynb")
    text = (tmp_path / "made.ipynb").read_text()
    known = read_file(tmp_path / "made.ipynb")["metadata"]["cellwright"]
    assert text.count(PICTURE) == 1
    names = {digest(PICTURE), digest(LONG), digest(TABLE)}
    assert not names & set(known["blobs"]), "they stand in cells"
    assert digest("result " * 1000) in known["blobs"]
    for name in names:
        assert name in json.dumps(known["runs"][0]["record"])


def test_f1_what_saves_the_notebook_again_does_not_change_the_record(tmp_path: Path) -> None:
    import nbformat

    write(long_ones(), tmp_path / "made.ipynb")
    opened = nbformat.read(tmp_path / "made.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    for cell in opened.cells:
        cell.id = f"new-{cell.id}"[:60]
    nbformat.write(opened, tmp_path / "saved.ipynb")  # type: ignore[no-untyped-call]
    joined = json.dumps(opened)  # texts whole, not cut in lines, no blanks saved
    for saved in (read_file(tmp_path / "saved.ipynb"), json.loads(joined)):
        assert proof(read_record(saved)) == proof(record_of(long_ones()))


def test_f1_long_outputs_are_left_out_with_their_hash_when_that_is_asked_for(tmp_path: Path) -> None:
    write(long_ones(), tmp_path / "made.ipynb", max_output=5000)
    made = read_file(tmp_path / "made.ipynb")
    text = (tmp_path / "made.ipynb").read_text()
    action = next(cell for cell in made["cells"] if cell["metadata"]["cellwright"]["role"] == "action")
    shown, printed = action["outputs"]
    assert set(shown["data"]) == {"text/plain"}, "a picture that is none would be drawn broken"
    said = f"image/png: [left out: {len(PICTURE):,} bytes, SHA-256 {digest(PICTURE)}]"
    assert "".join(shown["data"]["text/plain"]) == f"<Figure>\n{said}"
    assert "".join(printed["text"]) == LONG, "it is the code of that cell, too"
    assert PICTURE not in text
    assert TABLE in read_record(made)[0].blobs.values(), "what runs again needs it"


def test_f1_what_only_an_output_holds_is_left_out_of_the_record_too(tmp_path: Path) -> None:
    (run,) = [a_run("x", a_step(1, "t", "p()", Stream("stdout", LONG), Display({"image/png": PICTURE})))]
    write([run], tmp_path / "whole.ipynb")
    write([run], tmp_path / "small.ipynb", max_output=5000)
    small = (tmp_path / "small.ipynb").read_text()
    assert PICTURE not in small
    assert len(small) < 20_000 < (tmp_path / "whole.ipynb").stat().st_size
    (record,) = read_record(read_file(tmp_path / "small.ipynb"))
    assert [line.link for line in record.lines] == [line.link for line in record_of([run])[0].lines]
    assert fault(record) is None
    assert {name for name, text in record.blobs.items() if is_left_out(text, name)} == set(record.blobs)


# ---- a file that nobody should trust ---------------------------------------------------------------------------------


def damaged(*path: Any, value: Any) -> Any:
    made = as_file(notebook([*rich(), *long_ones()]))
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


OURS = ("metadata", "cellwright")
LINE = "0" * 64 + " "


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"metadata": []},
        {"metadata": {"cellwright": {}}},
        damaged(*OURS, value=[]),
        damaged(*OURS, "form", value=2),
        damaged(*OURS, "form", value="1"),
        damaged(*OURS, "runs", value={}),
        damaged(*OURS, "runs", value=[]),
        damaged(*OURS, "runs", 0, value="run"),
        damaged(*OURS, "runs", 0, "before", value=1),
        damaged(*OURS, "runs", 0, "before", value="short"),
        damaged(*OURS, "runs", 0, "note", value=[]),
        damaged(*OURS, "runs", 0, "record", value="text"),
        damaged(*OURS, "runs", 0, "record", value=[]),
        damaged(*OURS, "runs", 0, "record", 0, value=None),
        damaged(*OURS, "runs", 0, "record", 0, value="no link"),
        damaged(*OURS, "runs", 0, "record", 0, value=LINE + "{"),
        damaged(*OURS, "runs", 0, "record", 0, value=LINE + "[" * 100_000),
        damaged(*OURS, "runs", 0, "record", 0, value=LINE + '{"$sha256":' * 50_000),
        damaged(*OURS, "runs", 0, "record", 0, value=LINE + '{"kind":"no_such_thing"}'),
        damaged(*OURS, "runs", 0, "record", 0, value=LINE + '{"kind":"told","step":1,"text":"x","by":"me"}'),
        damaged(*OURS, "blobs", value=[]),
        damaged(*OURS, "blobs", value={"0" * 64: 1}),
        damaged(*OURS, "blobs", value={}),
        damaged("cells", value=[1]),
        damaged("cells", value=5),
        damaged("cells", 5, "outputs", value=[[]]),
    ],
)
def test_f3_a_damaged_notebook_is_said_in_one_line(made: Any) -> None:
    with pytest.raises(NoRecord) as error:
        read_record(made)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"metadata": 1}'])
def test_f3_what_is_no_notebook_is_said_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "some.ipynb"
    with pytest.raises(NoRecord, match="can't be read"):
        read_file(path)
    path.write_bytes(content)
    with pytest.raises(NoRecord) as error:
        read_record(read_file(path))
    assert "\n" not in str(error.value)


def test_f3_a_text_that_is_named_again_and_again_does_not_fill_the_memory() -> None:
    made = as_file(notebook(short()))
    known = made["metadata"]["cellwright"]
    text = "x" * 10_000_000
    known["blobs"] = {digest(text): text}
    many = json.dumps([{"$sha256": digest(text)}] * 1000)
    line = LINE + '{"kind":"tool_called","step":1,"name":"f","args":' + many + ',"kwargs":{}}'
    known["runs"][0]["record"].append(line)
    with pytest.raises(NoRecord, match="it is larger than 512 MB"):
        read_record(made)


MADE = as_file(notebook(short()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@given(st.sampled_from(places(MADE["metadata"]["cellwright"])[1:]), JSON)
def test_f3_whatever_stands_in_the_metadata_the_reader_reads_it_or_says_no(path: tuple[Any, ...], value: Any) -> None:
    made = copy.deepcopy(MADE)
    place = made["metadata"]["cellwright"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    try:
        records = read_record(made)
    except NoRecord as error:
        assert "\n" not in str(error)
    else:
        events: list[Event] = [event for record in records for event in record.run.events]
        assert events
        notebook(records)
