"""Whether an audit notebook is what was written: its chain, its signature, and every cell against the record.

The notebook is made of its record alone, so it is made again and compared, cell by cell, field by field. Changes that
programs make when they save a notebook (ids, blanks at line ends, counts, metadata of their own) are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ..chain import GENESIS, blob_names, digest, link
from ..errors import one_line
from ..record import Record, is_left_out
from ..signing import BadSignature, SigningError, check_signature, signature_of
from .export import notebook as made_of
from .metadata import facts_of, layout_of, read_record

STAMP = "stamp"
"""Role of the Markdown cell that `verify` puts into a copy; it is no part of what was written."""
_FIELDS_OF_CELL = ("cell_type", "source", "attachments")


@dataclass(frozen=True, slots=True)
class Change:
    """Something in the notebook is not as it was written."""

    where: str
    """Which cell, event or field, as a person would name it."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found."""

    records: Sequence[Record]
    changes: Sequence[Change]
    signed_by: str
    """Fingerprint of the key; empty without a signature."""
    note: str = ""
    """Why the signature could not be checked."""


def inspect(notebook: Mapping[str, Any]) -> Inspection:
    """Compare a notebook, as JSON data, with its record. Raises `NoRecord` where it has none that can be read."""
    records = read_record(notebook, with_gaps=True)
    changes = [*_chain(records), *_facts(notebook, records), *_cells(notebook, records)]
    signed_by, note = "", ""
    if (found := facts_of(notebook).get("signature")) is not None:
        try:
            signature = signature_of(found)
            check_signature(records, signature)
            signed_by = signature.fingerprint
        except BadSignature as error:
            changes.append(Change("signature", str(error)))
        except SigningError as error:
            note = str(error)
    return Inspection(records, changes, signed_by, note)


# ---- the record -----------------------------------------------------------------------------------------------------


def _chain(records: Sequence[Record]) -> Iterator[Change]:
    last: dict[str, str] = {}
    for record in records:
        conversation = record.run.started.conversation if record.run.started else ""
        before = last.get(conversation, GENESIS)
        if record.before != before:
            missing = "an earlier run is missing" if before == GENESIS else "it does not follow on the run before it"
            yield Change(f"run {record.run.id}", f"{missing}, or its first link was changed")
        yield from _links(record)
        last[conversation] = record.last


def _links(record: Record) -> Iterator[Change]:
    before = record.before
    for number, (line, event) in enumerate(zip(record.lines, record.run.events, strict=True)):
        where = f"{_step(getattr(event, 'step', None))}event {number} ({getattr(event, 'kind', '?')})"
        where = f"record of run {record.run.id}, {where}"
        if event.seq != number:
            yield Change(where, f"it is numbered {event.seq}: an event was removed, added or moved")
        if line.link != link(before, line.body):
            yield Change(where, "it was changed, or one before it removed, added or moved")
        for name in blob_names(line.body):
            text = record.blobs.get(name)
            if text is None:
                yield Change(where, "a long text of it is missing, or was changed where it stands in a cell")
            elif digest(text) != name and not is_left_out(text, name):
                yield Change(where, "a long text of it was changed")
        before = line.link


def _facts(notebook: Mapping[str, Any], records: Sequence[Record]) -> Iterator[Change]:
    """The notebook's own metadata against what the record gives."""
    actual = {name: value for name, value in facts_of(notebook).items() if name != "signature"}
    expected = _expected(notebook, records)["metadata"]["cellwright"]
    # The record itself is checked by its chain, and what is a blob depends on where else its text stands.
    yield from _different("metadata", _without(expected), _without(actual))


def _without(facts: Mapping[str, Any]) -> dict[str, Any]:
    runs = [{key: item for key, item in run.items() if key != "record"} for run in facts.get("runs", ())]
    return {**{key: item for key, item in facts.items() if key not in ("blobs", "runs")}, "runs": runs}


# ---- the cells ------------------------------------------------------------------------------------------------------


def _expected(notebook: Mapping[str, Any], records: Sequence[Record]) -> Mapping[str, Any]:
    layout = layout_of(notebook)
    return made_of(records, report=layout.is_report, max_output=layout.max_output)


def _cells(notebook: Mapping[str, Any], records: Sequence[Record]) -> Iterator[Change]:
    expected = list(_expected(notebook, records)["cells"])
    actual = [cell for cell in _list(notebook.get("cells")) if not is_stamp(cell)]
    keys, found = [_key(cell) for cell in expected], [_key(cell) for cell in actual]
    for at, key in enumerate(found):
        if key not in keys or found.index(key) != at:
            yield Change(f"cell {at + 1}", "it was added: it is not in the record")
    for cell, key in zip(expected, keys, strict=True):
        if key not in found:
            yield Change(_name(cell), "its cell was removed")
    yield from _moved(expected, keys, [key for key in found if key in keys])
    by_key = dict(zip(reversed(found), reversed(actual), strict=True))
    for cell, key in zip(expected, keys, strict=True):
        if key in by_key:
            yield from _cell(_name(cell), cell, by_key[key])


def is_stamp(cell: Any) -> bool:
    """Whether the cell is a stamp of an earlier check: text only, so that no code can hide behind the word."""
    return _facts_of(cell).get("role") == STAMP and _object(cell).get("cell_type") == "markdown"


def _moved(expected: Sequence[Any], keys: Sequence[Any], found: Sequence[Any]) -> Iterator[Change]:
    there = [key for key in keys if key in found]
    for tag, start, end, _from, _to in SequenceMatcher(None, there, list(dict.fromkeys(found)), False).get_opcodes():
        if tag in ("delete", "replace"):
            for key in there[start:end]:
                yield Change(_name(expected[keys.index(key)]), "its cell was moved")


def _cell(name: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[Change]:
    for field in _FIELDS_OF_CELL:
        if _text(expected.get(field)) != _text(actual.get(field)):
            what = "code" if field == "source" and expected["cell_type"] == "code" else field.replace("source", "text")
            yield Change(name, f"its {what} was changed")
    yield from _different(f"{name}, metadata", _facts_of(expected), _facts_of(actual))
    wanted = set(expected.get("metadata", {}).get("tags", ()))
    if missing := wanted - set(_list(_object(actual.get("metadata")).get("tags"))):
        yield Change(name, f"its tag {', '.join(sorted(missing))} was removed")
    then, now = _outputs(expected), _outputs(actual)
    if len(then) != len(now):
        yield Change(name, f"it has {len(now)} outputs instead of {len(then)}")
    for number, (one, other) in enumerate(zip(then, now, strict=False), 1):
        if one != other:
            yield Change(name, f"its output {number if len(then) > 1 else ''} was changed".replace("  ", " "))


def _outputs(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outputs without what programs add; neighbours of one stream are one."""
    found: list[dict[str, Any]] = []
    for output in map(_object, _list(cell.get("outputs"))):
        one = {key: _text(item) for key, item in output.items() if key not in ("metadata", "execution_count")}
        if "data" in one:
            one["data"] = {mime: _text(item) for mime, item in _object(output["data"]).items()}
        if found and one.get("output_type") == "stream" and found[-1].get("name") == one.get("name"):
            found[-1]["text"] = f"{found[-1].get('text')}{one.get('text')}"
        else:
            found.append(one)
    for one in found:
        if one.get("output_type") == "stream":
            one["text"] = str(one.get("text")).rstrip("\n")
    return found


def _text(value: Any) -> Any:
    """A text of a notebook, which files have as a list of lines; blanks at line ends don't count."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "".join(value)
    return "\n".join(line.rstrip() for line in value.rstrip().split("\n")) if isinstance(value, str) else value


def _different(where: str, then: Any, now: Any) -> Iterator[Change]:
    """The places in which two JSON values differ."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in sorted({*then, *now}, key=str):
            if key not in now:
                yield Change(f"{where}.{key}", "it was removed")
            elif key not in then:
                yield Change(f"{where}.{key}", "it was added")
            else:
                yield from _different(f"{where}.{key}", then[key], now[key])
    elif isinstance(then, list | tuple) and isinstance(now, list | tuple) and len(then) == len(now):
        for number, pair in enumerate(zip(then, now, strict=True)):
            yield from _different(f"{where}[{number}]", *pair)
    elif then != now or (isinstance(then, bool) != isinstance(now, bool)):
        yield Change(where, f"{one_line(repr(now), 60)} instead of {one_line(repr(then), 60)}")


def _key(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    facts = _facts_of(cell)
    return str(facts.get("role")), str(facts.get("run")), str(facts.get("seq"))


def _name(cell: Mapping[str, Any]) -> str:
    facts = _facts_of(cell)
    run = f" of run {facts['run']}" if "run" in facts else ""
    return f"{_step(facts.get('step'))}{facts.get('role')}{run}"


def _step(number: Any) -> str:
    return f"step {number}, " if number is not None else ""


def _facts_of(cell: Any) -> Mapping[str, Any]:
    return _object(_object(_object(cell).get("metadata")).get("cellwright"))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
