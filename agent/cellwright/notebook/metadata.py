"""What the audit notebook's metadata hold: the record, word for word, and how the cells were made of it.

    metadata.cellwright
        form        version of this layout
        layout      options of the export: is_report, max_output
        schema, version, conversation
        runs        for each: started, ended, events (how many), before, link, record, note
        blobs       SHA-256 -> long text that stands in no cell
        left_out    SHA-256 -> what stands for a long output that the export was told to leave out
        signature   where there is one

`record` is a list of lines "<link> <event>", the event as it was stored: texts, because a program that saves the
notebook again may write a number in another way, and then no hash would fit. A long text of an event that stands in a
cell anyway (a picture, the code, a table) is found there by its hash. Nothing that is read here is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..chain import LONG, blob_names, digest
from ..errors import CellwrightError, ExportError, one_line
from ..events import SCHEMA_VERSION
from ..outputs import Json
from ..record import Line, Record, is_left_out, left_out, read, record_of
from ..run import Run
from . import cells
from .head import started

if TYPE_CHECKING:
    from nbformat import NotebookNode

FORM = 1
"""Version of the notebook's layout; raised when the same record would give other cells."""
MOST_BYTES = 512 << 20
"""Of a notebook file that is read, and of the texts of one record."""
MOST_LINES = 1_000_000
"""Of the record of one run."""

_HASH = re.compile(r"[0-9a-f]{64}")
_TABLE_BEGINS, _TABLE_ENDS = '_table("""\n', '\n""")'


class NoRecord(CellwrightError):
    """A notebook holds no record, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Options of an export."""

    is_report: bool = False
    """For readers: the answer on top, code folded."""
    max_output: int | None = None
    """Bytes; a longer text of an output is left out, and its SHA-256 stands in its place. Texts up to 4,096 characters
    always stay."""


# ---- into the notebook ----------------------------------------------------------------------------------------------


def records_of(runs: Iterable[Run | Record]) -> list[Record]:
    """The records to tell of; of plain runs they are made. Raises `ExportError` when there are none."""
    given = list(runs)
    made = iter(record_of(item for item in given if isinstance(item, Run)))
    records = [item if isinstance(item, Record) else _read_again(next(made)) for item in given]
    records = [record for record in records if record.run.started]
    if not records:
        raise ExportError("There is no run to export. Give a task first, or name a run; `cellwright runs` lists them.")
    return records


def _read_again(record: Record) -> Record:
    """The record with its run as it will be read from the notebook, so that both make the same cells."""
    return replace(record, run=read([line.body for line in record.lines], _WithGaps(record.blobs)))


def without_long_outputs(records: Iterable[Record], max_output: int | None) -> list[Record]:
    """The records with what outputs are longer than `max_output` bytes only named."""
    if max_output is None:
        return list(records)
    shortened = []
    for record in records:
        shown, used = set[str](), set[str]()
        for line in record.lines:
            if names := blob_names(line.body):
                is_shown = json.loads(line.body).get("kind") in ("output", "answer_given")
                (shown if is_shown else used).update(names)
        texts = {name: record.blobs[name] for name in shown - used if name in record.blobs}
        sizes = {name: len(text.encode()) for name, text in texts.items() if not is_left_out(text, name)}
        blobs = {name: left_out(name, size) for name, size in sizes.items() if size > max_output}
        shortened.append(_read_again(replace(record, blobs={**record.blobs, **blobs})) if blobs else record)
    return shortened


def metadata(records: Sequence[Record], layout: Layout, made: Iterable[NotebookNode]) -> dict[str, Json]:
    """The notebook's metadata. made: its cells, which hold some of the long texts."""
    first = started(records[0].run)
    texts = {name: text for record in records for name, text in record.blobs.items()}
    known = set(_texts(made)) if texts else set()
    missing = {name: text for name, text in texts.items() if is_left_out(text, name)}
    facts: dict[str, Json] = {
        "form": FORM,
        "layout": asdict(layout),
        "schema": SCHEMA_VERSION,
        "version": first.version,
        "conversation": first.conversation,
        "runs": [_run(record) for record in records],
        "blobs": {name: text for name, text in texts.items() if text not in known and name not in missing},
    }
    if missing:
        facts["left_out"] = missing
    return facts


def _run(record: Record) -> dict[str, Json]:
    """What is known of a run as a whole, and its record."""
    run = record.run
    facts: dict[str, Json] = {
        "started": cells.facts(started(run)),
        "ended": cells.facts(run.ended) if run.ended else None,
        "events": len(record.lines),
        "before": record.before,
        "link": record.last,
        "record": [f"{line.link} {line.body}" for line in record.lines],
    }
    return facts | ({"note": record.note} if record.note else {})


# ---- out of the notebook --------------------------------------------------------------------------------------------


def read_file(path: Path | str) -> dict[str, Any]:
    """The notebook at `path` as JSON data. Raises `NoRecord` where it can't be read or is none."""
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise NoRecord(f"{path} is larger than {MOST_BYTES >> 20} MB, so it is not read.")
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise NoRecord(f"{path} can't be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise NoRecord(f"{path} is no notebook: {one_line(str(error), 120)}.") from error
    if not isinstance(found, dict):
        raise NoRecord(f"{path} is no notebook.")
    return found


def read_record(notebook: Mapping[str, Any], *, with_gaps: bool = False) -> list[Record]:
    """The record that a notebook holds, run by run, the links as they stand there: `record.fault` checks them.

    A long output that was left out is a text that says so (`record.is_left_out`). with_gaps: so is one that is missing,
    because its cell was changed; it is not among the record's `blobs`. Raises `NoRecord`.
    """
    facts = facts_of(notebook)
    kept, missing = _texts_of(facts, "blobs"), _texts_of(facts, "left_out")
    missing = {name: text for name, text in missing.items() if is_left_out(text, name)}
    try:
        inside = {digest(text): text for text in _texts(notebook.get("cells") or ())}
    except (TypeError, AttributeError, ValueError) as error:
        raise NoRecord(f"The notebook's cells are damaged: {one_line(str(error), 120)}.") from error
    texts = _Texts({**missing, **inside, **kept})
    records = [_record(_object(run, "run"), texts, with_gaps) for run in _list(facts.get("runs"), "runs")]
    _check_callers({record.run.id: started(record.run).caller for record in records}, len(records))
    return records


def layout_of(notebook: Mapping[str, Any]) -> Layout:
    """The options with which the notebook was made. Raises `NoRecord`."""
    layout = _object(facts_of(notebook).get("layout"), "layout")
    most = layout.get("max_output")
    if not isinstance(layout.get("is_report"), bool) or not (most is None or type(most) is int):
        raise NoRecord("The record of this notebook is damaged: its layout can't be read.")
    return Layout(layout["is_report"], most)


def facts_of(notebook: Mapping[str, Any]) -> Mapping[str, Any]:
    """`metadata.cellwright`. Raises `NoRecord` where there is none, or one of another form."""
    metadata = notebook.get("metadata")
    facts = metadata.get("cellwright") if isinstance(metadata, Mapping) else None
    if not isinstance(facts, Mapping) or "runs" not in facts:
        raise NoRecord("This is no audit notebook: its metadata hold no record. `cellwright export` writes one.")
    if facts.get("form") != FORM:
        form = one_line(repr(facts.get("form")), 40)
        raise NoRecord(f"This audit notebook has form {form}, and form {FORM} is read here. Update Cellwright.")
    return facts


def _check_callers(callers: Mapping[str, str | None], runs: int) -> None:
    """A run is told where it was called: one that stands twice, or calls itself by others, would be told for ever."""
    if len(callers) != runs:
        raise NoRecord("The record of this notebook is damaged: a run stands twice.")
    fine: set[str] = set()
    for first in callers:
        path: dict[str, None] = {}
        run: str | None = first
        while run is not None and run in callers and run not in fine:
            if run in path:
                raise NoRecord("The record of this notebook is damaged: runs called each other in a circle.")
            path[run] = None
            run = callers[run]
        fine.update(path)


class _Texts:
    """Long texts by their hash; one that is named again and again must not fill the memory."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self._left = MOST_BYTES

    def named_by(self, body: str) -> dict[str, str]:
        """Those that a body names. Raises `ValueError`."""
        names = blob_names(body)
        found = {name: self.texts[name] for name in names if name in self.texts}
        self._left -= sum(len(found[name]) for name in names if name in found)
        if self._left < 0:
            raise ValueError(f"it is larger than {MOST_BYTES >> 20} MB")
        return found


class _WithGaps(dict[str, str]):
    """Long texts by their hash; what is not there is a text that says so."""

    def __missing__(self, name: str) -> str:
        return f"[missing: SHA-256 {name[:64]}]"


def _record(facts: Mapping[str, Any], texts: _Texts, with_gaps: bool) -> Record:
    before, note = facts.get("before"), facts.get("note", "")
    if not isinstance(before, str) or not _HASH.fullmatch(before) or not isinstance(note, str):
        raise NoRecord("The record of this notebook is damaged: a run does not say which link it takes up.")
    lines, blobs = [], {}
    run = Run()
    listed = _list(facts.get("record"), "record")
    if len(listed) > MOST_LINES:
        raise NoRecord(f"The record of a run has more than {MOST_LINES:,} events, so it is not read.")
    for number, text in enumerate(listed):
        try:
            line = _line(text)
            named = texts.named_by(line.body)
            (event,) = read([line.body], _WithGaps(named) if with_gaps else named).events
        except (ValueError, RecursionError) as error:
            why = one_line(str(error), 120)
            raise NoRecord(f"Event {number} of run {one_line(run.id, 40) or '?'} can't be read: {why}") from error
        run.add(event)
        lines.append(line)
        blobs.update(named)
    if run.started is None or run.started is not run.events[0]:
        raise NoRecord("The record of this notebook is damaged: a run does not begin with its beginning.")
    return Record(run, before, tuple(lines), blobs, note)


def _line(text: object) -> Line:
    link, _, body = text.partition(" ") if isinstance(text, str) else ("", "", "")
    if not _HASH.fullmatch(link):
        raise ValueError("it does not begin with its link")
    return Line(link, body)


def _texts(made: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The long texts that stand in cells: sources, what was printed and displayed, tables."""
    for cell in made:
        source = _joined(cell.get("source"))
        found = [source, _table(source)]
        for output in cell.get("outputs") or ():
            found.append(_joined(output.get("text")))
            found += map(_joined, (output.get("data") or {}).values())
        yield from (text for text in found if len(text) > LONG)


def _table(source: str) -> str:
    """The table that stands in a cell's code, in lines; empty where there is none."""
    begins, ends = source.find(_TABLE_BEGINS), source.rfind(_TABLE_ENDS)
    return source[begins + len(_TABLE_BEGINS) : ends].replace("\n", "") if begins >= 0 else ""


def _joined(text: object) -> str:
    """A text of the notebook; files have it as a list of lines."""
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "".join(text)
    return text if isinstance(text, str) else ""


def _texts_of(facts: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _object(facts.get(name, {}), name)
    if not all(isinstance(text, str) for text in found.values()):
        raise NoRecord(f"The record of this notebook is damaged: its {name} hold what is no text.")
    return dict(found)


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise NoRecord(f"The record of this notebook is damaged: its {name} is no object.")
    return value


def _list(value: object, name: str) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise NoRecord(f"The record of this notebook is damaged: its {name} is no list, or an empty one.")
    return value
