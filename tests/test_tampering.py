"""Row F3: ways to forge an audit notebook that a review found, each found out; and what honest programs do, which isn't.

The notebooks are those of the project and runs made by hand: no code of theirs is run here.
"""

# ruff: noqa: E501 - the table of forgeries reads better with one a line

from __future__ import annotations

import copy
import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from audit_runs import a_run, a_step, an_answer, rich, short
from cellwright.chain import GENESIS, LONG, digest, link, links, stored
from cellwright.console import printable
from cellwright.events import Told
from cellwright.journal import Journal
from cellwright.notebook.export import notebook, write
from cellwright.notebook.inspection import inspect, is_stamp
from cellwright.notebook.metadata import NoRecord, read_record
from cellwright.notebook.stamp import write_stamped
from cellwright.notebook.verify import Verdict, Verification, verify
from cellwright.outputs import Display, Stream
from cellwright.record import Line, Record, fault, left_out, read, record_of
from cellwright.run import Run
from cellwright.signing import make_key, sign
from journals import store

AUDITS = sorted((Path(__file__).parents[1] / "notebooks" / "audits").glob("*.ipynb"))
Book = dict[str, Any]


def plain(made: Any) -> Book:
    """The notebook as it is read from a file."""
    found: Book = json.loads(json.dumps(made))
    return found


def audit(name: str = "wine") -> Book:
    found: Book = json.loads(next(path for path in AUDITS if path.stem == name).read_text("utf-8"))
    return found


def told() -> str:
    """A long text that is put into code and printed: longer than what stays in an event."""
    return "".join(f"{number}, " for number in range(1500))


CODE = 'text = """a  \nb"""\nprint(text)\nif text:\n    print(1)  # one'
JSON = {"application/json": {"is_new": True}, "application/x+json": ["a", "b"], "text/plain": "x"}


def made() -> Book:
    """Two tasks; code with a text over two lines, a magic, structured data, a long text that is shown."""
    one = a_run(
        "One.",
        a_step(1, "Look.", CODE, Stream("stdout", "a  \nb\n1\n"), Display(JSON)),
        a_step(2, "Shell.", "%%bash\necho a \\\n  b", Stream("stdout", "a b\n")),
        a_step(3, "Answer.", "final_answer(3)", answer=an_answer(3, 3)),
    )
    two = a_run(
        "Two.",
        a_step(1, "Much.", f"much = [{told()}]\nprint(much)", Stream("stdout", f"[{told()}]\n")),
        a_step(2, "Answer.", "final_answer(4)", answer=an_answer(2, 4)),
        run_id="run-2",
        time=1.8e9 + 100,
    )
    return plain(notebook([one, two]))


def actions(book: Book) -> list[Book]:
    return [cell for cell in book["cells"] if cell["metadata"].get("cellwright", {}).get("role") == "action"]


def action(book: Book, number: int = 0) -> Book:
    return actions(book)[number]


def source(book: Book, number: int, old: str, new: str) -> None:
    text = "".join(action(book, number)["source"])
    assert old in text
    action(book, number)["source"] = text.replace(old, new, 1)


def stamp(**more: Any) -> Book:
    return {
        "id": "s",
        "cell_type": "markdown",
        "source": "**✓ All is well.**",
        "metadata": {"cellwright": {"role": "stamp"}},
        **more,
    }


def leave_out(book: Book, kind: str, most: int | None = None) -> None:
    """A long text of events of that kind is put away, and said to have been left out by the export."""
    facts = book["metadata"]["cellwright"]
    facts["layout"]["max_output"] = most
    records = read_record(book)
    names = {
        name
        for record in records
        for line in record.lines
        if json.loads(line.body)["kind"] == kind
        for name in record.blobs
        if name in line.body
    }
    assert names
    facts["left_out"] = {name: left_out(name, 9000) for name in names}
    for name in names:
        facts["blobs"].pop(name, None)
    _remake(book, {**facts["left_out"]})


def _remake(book: Book, gone: dict[str, str]) -> None:
    """Make the cells of what the record now says, as a forger would, who has this program, too."""
    records = read_record(book)
    forged = []
    for record in records:
        blobs = {name: gone.get(name, text) for name, text in record.blobs.items()}
        forged.append(replace(record, blobs=blobs, run=read([line.body for line in record.lines], blobs)))
    facts = book["metadata"]["cellwright"]
    again = plain(notebook(forged, max_output=facts["layout"]["max_output"]))
    again["metadata"]["cellwright"]["layout"] = facts["layout"]
    book.clear()
    book.update(again)


def output(book: Book, at: int, number: int = 0) -> Book:
    found: Book = action(book, number)["outputs"][at]
    return found


def metadata(book: Book) -> Book:
    found: Book = book["metadata"]
    return found


def tagged(tag: str) -> Callable[[Book], Any]:
    return lambda book: action(book)["metadata"].update(tags=[tag, [1]])


FORGERIES: dict[str, tuple[Callable[[Book], Any], str]] = {
    "nbformat 3, its cells elsewhere": (lambda b: b.update(nbformat=3, worksheets=[{"cells": []}]), "notebook: its nbformat was changed"),
    "cells that other versions read": (lambda b: b.update(worksheets=[{"cells": []}]), "notebook.worksheets: it was added"),
    "no nbformat": (lambda b: b.pop("nbformat"), "notebook: its nbformat"),
    "code is said to be left out": (lambda b: leave_out(b, "action_decided"), "a long text of it was changed"),
    "code is said to be left out, by an option": (lambda b: leave_out(b, "action_decided", 100), "a long text of it was changed"),
    "a reply is said to be left out": (lambda b: leave_out(b, "reply_received"), "a long text of it was changed"),
    "an output is said to be left out, by no option": (lambda b: leave_out(b, "output"), "a long text of it was changed"),
    "a stamp in the middle": (lambda b: b["cells"].insert(5, stamp()), "cell 6: it was added"),
    "a stamp at the end": (lambda b: b["cells"].append(stamp()), "it was added"),
    "a second stamp": (lambda b: b["cells"].__setitem__(slice(0, 0), [stamp(), stamp()]), "cell 2: it was added"),
    "a stamp with a picture": (lambda b: b["cells"].insert(0, stamp(attachments={"a.png": {"image/png": "x"}})), "cell 1: it was added"),
    "a stamp with outputs": (lambda b: b["cells"].insert(0, stamp(outputs=[])), "cell 1: it was added"),
    "blanks in a text of the code": (lambda b: source(b, 0, "a  \n", "a\n"), "step 1.*code was changed"),
    "blanks after a magic's backslash": (lambda b: source(b, 1, "a \\\n", "a \\ \n"), "step 2.*code was changed"),
    "true becomes 1": (lambda b: output(b, 1)["data"]["application/json"].update(is_new=1), "step 1.*output 2 was changed"),
    "a list of texts becomes one": (lambda b: output(b, 1)["data"].update({"application/x+json": "ab"}), "output 2 was changed"),
    "another language": (lambda b: metadata(b)["language_info"].update(name="bash"), "language_info.name"),
    "a kernel of another language": (lambda b: metadata(b)["kernelspec"].update(language="R"), "kernelspec.language"),
    "a picture a pixel wide": (lambda b: output(b, 1)["metadata"].update(width=1), "output 2 was changed"),
    "a picture a pixel high, by its type": (lambda b: output(b, 1)["metadata"].update({"image/png": {"height": 1}}), "output 2 was changed"),
    "a field of a cell that others may read": (lambda b: action(b).update(input="1/0"), "input: it was added"),
    "a text that no event names": (lambda b: metadata(b)["cellwright"]["blobs"].update({"0" * 64: "x"}), "no event names it"),
    **{
        f"the tag {tag}": (tagged(tag), f"a tag was added: {tag}")
        for tag in ("remove-cell", "remove-input", "remove-output", "hide-cell", "hide-input", "hide-output", "skip-execution", "raises-exception", "parameters", "injected-parameters")
    },
}  # fmt: skip


def said(book: Book) -> str:
    return "\n".join(map(str, inspect(book).changes))


@pytest.mark.parametrize("kind", FORGERIES)
def test_f3_a_forgery_is_found_and_named(kind: str) -> None:
    forge, words = FORGERIES[kind]
    book = made()
    assert not said(book)
    forge(book)
    assert re.search(words, said(book)), said(book)


@pytest.mark.parametrize("path", AUDITS, ids=lambda path: path.stem)
def test_f3_forgeries_of_the_projects_audits_are_found(path: Path) -> None:
    found = 0
    for name, (forge, _) in FORGERIES.items():
        book = audit(path.stem)
        assert not said(book)
        try:
            forge(book)
        except (AssertionError, KeyError, IndexError):
            continue  # it has no such output
        found += 1
        assert said(book), name
    assert found > 15


async def test_f3_code_that_is_said_to_be_left_out_is_not_run(tmp_path: Path) -> None:
    """Else a text that stands for the code would run in its place."""
    book = made()
    leave_out(book, "action_decided", 100)
    (tmp_path / "x.ipynb").write_text(json.dumps(book))

    def never(kernel: str) -> Any:
        raise AssertionError("nothing may run")

    found = await verify(tmp_path / "x.ipynb", never)
    assert found.verdict == Verdict.CHANGED and any("was not run again" in note for note in found.notes)


def test_f3_only_outputs_may_be_left_out_of_a_record() -> None:
    run = a_run("t", a_step(1, "x", f"a = '{'y' * LONG}'", Stream("stdout", "z" * LONG * 2)))
    (record,) = record_of([run])

    def without(letter: str) -> Record:
        return replace(
            record,
            blobs={
                name: left_out(name, len(text)) if letter * 9 in text else text for name, text in record.blobs.items()
            },
        )

    assert fault(without("z")) is None
    assert "was changed" in (fault(without("y")) or "")


def test_f3_the_note_of_a_damaged_journal_is_signed(tmp_path: Path) -> None:
    """It says what is missing: who may take it away makes the record whole."""
    key = make_key(tmp_path / "key.pem")
    (record,) = record_of(short())
    damaged = [replace(record, note="Event 3 was changed.")]
    book = plain(notebook(damaged, signature=sign(damaged, key)))
    assert not said(book) and inspect(book).signed_by
    forged = plain(notebook([record]))
    forged["metadata"]["cellwright"]["signature"] = asdict(sign(damaged, key))
    assert "signature: The signature does not fit" in said(forged)
    forged = plain(notebook([replace(record, note="All is well.")], signature=sign([record], key)))
    assert "signature: The signature does not fit" in said(forged)


def test_f3_runs_that_stand_twice_or_call_each_other_are_refused_at_once() -> None:
    twice = made()
    twice["metadata"]["cellwright"]["runs"].append(twice["metadata"]["cellwright"]["runs"][0])
    with pytest.raises(NoRecord, match="a run stands twice"):
        inspect(twice)
    for callers in ({"run-1": "run-1"}, {"run-1": "run-2", "run-2": "run-1"}):
        runs = [a_run("t", run_id=run, caller=caller) for run, caller in callers.items()]
        book = made()
        for facts, record in zip(book["metadata"]["cellwright"]["runs"], record_of(runs), strict=False):
            facts["record"] = [f"{line.link} {line.body}" for line in record.lines]
        if len(callers) == 1:
            del book["metadata"]["cellwright"]["runs"][1]
        with pytest.raises(NoRecord, match="in a circle"):
            inspect(book)


def test_f3_a_long_text_made_to_be_slow_is_read_at_once() -> None:
    book = made()
    action(book)["source"] = '_table("""\n' * 40_000
    begun = time.perf_counter()
    assert "code was changed" in said(book)
    assert time.perf_counter() - begun < 5


def test_f3_what_no_terminal_can_write_is_named_in_one_line() -> None:
    book = made()
    action(book)["metadata"]["cellwright"]["\ud800x"] = 1
    printable(said(book)).encode()
    assert "x: it was added" in said(book)


def test_f3_a_time_that_is_no_date_is_told_as_a_number() -> None:
    run = Run(replace(event, time=1e300) for event in a_run("t").events)
    assert "1e+300 s" in "".join(cell["source"] for cell in notebook([run]).cells)


# ---- honest ---------------------------------------------------------------------------------------------------------


def test_f3_two_agents_called_in_one_step() -> None:
    outer = a_run(
        "Outer.",
        a_step(1, "Ask both.", "one() + two()"),
        a_step(2, "Done.", "final_answer(1)", answer=an_answer(2, 1)),
        time=1e9,
    )
    inner = [a_run(f"Inner {n}.", run_id=f"in-{n}", conversation=f"c-{n}", caller="run-1", time=1e9) for n in (1, 2)]
    book = plain(notebook([outer, *inner]))
    assert sum(cell["metadata"]["cellwright"]["role"] == "agent" for cell in book["cells"]) == 2
    assert not said(book)
    agents = [cell for cell in book["cells"] if cell["metadata"]["cellwright"]["role"] == "agent"]
    book["cells"].remove(agents[1])
    assert "its cell was removed" in said(book)


def test_f3_an_agent_that_was_called_before_takes_up_what_it_did() -> None:
    """What an agent did in an earlier task is in its own conversation, and not in this notebook."""
    inner = a_run("Inner.", run_id="in-2", conversation="c-1", caller="run-1", time=1e9)
    outer, called = record_of([a_run("Outer.", a_step(1, "Ask.", "one()"), time=1e9), inner])
    bodies = [line.body for line in called.lines]
    before = "1" * 64
    moved = replace(called, before=before, lines=tuple(map(Line, links(bodies, before), bodies)))
    assert not said(plain(notebook([outer, moved])))


def test_f3_a_run_that_grew_after_the_next_one_began() -> None:
    first, second = record_of([a_run("One."), a_run("Two.", run_id="run-2", time=1.8e9 + 9)])
    late = Told(seq=len(first.lines), step=1, by="person", text="One thing more.", time=1.8e9 + 20)
    body = stored(late).body
    grown = replace(first, run=Run([*first.run.events, late]), lines=(*first.lines, Line(link(first.last, body), body)))
    assert second.before == first.last != grown.last
    assert not said(plain(notebook([grown, second])))
    assert "an earlier run is missing" in said(plain(notebook([second])))
    bodies = [line.body for line in second.lines]
    anew = replace(second, before=GENESIS, lines=tuple(map(Line, links(bodies), bodies)))
    assert "does not follow" in said(plain(notebook([grown, anew])))


HONEST: dict[str, Callable[[Book], Any]] = {
    "a stamp that stands first": lambda b: b["cells"].insert(0, stamp()),
    "blanks at line ends of code": lambda b: source(b, 0, "# one", "# one  "),
    "line ends of Windows": lambda b: source(b, 1, "\\\n", "\\\r\n"),
    "a last line end": lambda b: action(b, 1).update(source="".join(action(b, 1)["source"]) + "\n"),
    "another kernel's name": lambda b: metadata(b)["kernelspec"].update(name="my-python"),
    "no kernel": lambda b: metadata(b).pop("kernelspec"),
    "folded by the reader": lambda b: action(b)["metadata"].update(collapsed=True, jupyter={"source_hidden": True, "outputs_hidden": True}),
    "a tag of the reader": lambda b: action(b)["metadata"].update(tags=["mine"]),
    "no attachments, said so": lambda b: b["cells"][0].update(attachments={}),
}  # fmt: skip


@pytest.mark.parametrize("kind", HONEST)
def test_f3_what_honest_programs_do_is_no_change(kind: str) -> None:
    book = made()
    HONEST[kind](book)
    assert not said(book)


def test_f3_saved_again_by_nbformat(tmp_path: Path) -> None:
    books = [
        made(),
        plain(notebook(rich())),
        plain(notebook(rich(), report=True)),
        *(audit(path.stem) for path in AUDITS),
    ]
    for book in books:
        nbformat.write(nbformat.from_dict(copy.deepcopy(book)), tmp_path / "x.ipynb")  # type: ignore[no-untyped-call]
        assert not said(json.loads((tmp_path / "x.ipynb").read_text("utf-8")))


def test_f3_an_export_that_leaves_out_long_outputs_passes(tmp_path: Path) -> None:
    run = a_run("t", a_step(1, "x", "print(much)", Stream("stdout", told() + "\n")))
    write([run], tmp_path / "x.ipynb", max_output=1000)
    book = json.loads((tmp_path / "x.ipynb").read_text("utf-8"))
    assert digest(told() + "\n") in book["metadata"]["cellwright"]["left_out"]
    assert not said(book)


async def test_f3_a_stamped_copy_passes(tmp_path: Path) -> None:
    path, copied = tmp_path / "x.ipynb", tmp_path / "y.ipynb"
    path.write_text(json.dumps(made()))
    write_stamped(path, await verify(path, None), copied)
    assert is_stamp(json.loads(copied.read_text())["cells"][0])
    assert not (await verify(copied, None)).changes


async def test_f3_a_damaged_journal_does_not_accuse_the_notebook(tmp_path: Path) -> None:
    run = a_run("t", a_step(1, "x", "print(1)", Stream("stdout", "1\n")))
    path, book = tmp_path / "journal.sqlite", tmp_path / "x.ipynb"
    write([run], book)
    async with Journal(path) as journal:
        await store(journal, "run-1", run.events)
        assert not (await verify(book, None, journal=journal)).notes
    with closing(sqlite3.connect(path)) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("UPDATE events SET body = '{}' WHERE seq = 3")
        db.commit()
    async with Journal(path) as journal:
        found = await verify(book, None, journal=journal)
    assert not found.changes
    assert any("was not compared with this machine's journal, which is damaged" in note for note in found.notes)


def test_a_stamped_copy_hides_no_cell_that_was_added(tmp_path: Path) -> None:
    """A new stamp takes the place of the old one; what only looks like a stamp, further down, is found again."""
    path = Path(__file__).parents[1] / "notebooks" / "audits" / "wine.ipynb"
    found = Verification(changes=(), steps=(), notes=(), events=8, last="0" * 64, signed_by="", was_run=False)
    write_stamped(path, found, tmp_path / "once.ipynb")
    write_stamped(tmp_path / "once.ipynb", found, tmp_path / "twice.ipynb")
    book = json.loads((tmp_path / "twice.ipynb").read_text("utf-8"))
    assert len(book["cells"]) == len(json.loads(path.read_text("utf-8"))["cells"]) + 1
    assert not inspect(book).changes
    book["cells"].insert(3, book["cells"][0])
    (tmp_path / "forged.ipynb").write_text(json.dumps(book))
    write_stamped(tmp_path / "forged.ipynb", found, tmp_path / "stamped.ipynb")
    changes = inspect(json.loads((tmp_path / "stamped.ipynb").read_text("utf-8"))).changes
    assert [change.where for change in changes] == ["cell 4"]
