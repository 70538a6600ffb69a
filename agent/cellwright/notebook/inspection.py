"""Whether an audit notebook is what was written: its chain, its signature, and every cell against the record.

The notebook is made of its record alone, so it is made again and compared, cell by cell, field by field. Changes that
programs make when they save a notebook (ids, blanks at line ends, counts, metadata of their own) are none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ..chain import GENESIS, blob_names, digest, link
from ..errors import one_line
from ..record import SHOWN, Record, is_left_out
from ..signing import BadSignature, SigningError, check_signature, signature_of
from .export import notebook as made_of
from .metadata import facts_of, layout_of, read_record

STAMP = "stamp"
"""Role of the Markdown cell that `verify` puts into a copy; it is no part of what was written."""
_FIELDS_OF_NOTEBOOK = {"nbformat", "nbformat_minor", "metadata", "cells"}
_FIELDS_OF_CELL = {"id", "cell_type", "metadata", "source", "outputs", "execution_count", "attachments"}
_FIELDS_OF_STAMP = {"id", "cell_type", "metadata", "source"}
_TELLING_TAGS = {
    *("remove-cell", "remove-input", "remove-output", "hide-cell", "hide-input", "hide-output"),
    *("skip-execution", "raises-exception", "parameters", "injected-parameters"),
}
"""Tags by which programs show or run a cell otherwise."""
_JSON_MIME = re.compile(r"application/(.*\+)?json")


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
    most = layout_of(notebook).max_output
    changes = [*_form(notebook), *_chain(records, most), *_facts(notebook, records), *_cells(notebook, records)]
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


def _form(notebook: Mapping[str, Any]) -> Iterator[Change]:
    """What makes other programs read other cells, or run them as another language."""
    if notebook.get("nbformat") != 4:
        yield Change("notebook", "its nbformat was changed")
    for key in sorted(set(notebook) - _FIELDS_OF_NOTEBOOK, key=str):
        yield Change(f"notebook.{key}", "it was added")
    metadata = _object(notebook.get("metadata"))
    # The kernel's name may be another: readers choose among those that they have.
    for field, key in (("kernelspec", "language"), ("language_info", "name")):
        if str(_object(metadata.get(field)).get(key, "python")).lower() != "python":
            yield Change(f"notebook.metadata.{field}.{key}", "it was changed")


# ---- the record -----------------------------------------------------------------------------------------------------


def _chain(records: Sequence[Record], most: int | None) -> Iterator[Change]:
    seen: dict[str, set[str]] = {}
    for record in records:
        conversation = record.run.started.conversation if record.run.started else ""
        # A run may grow after the next one began, so the next one may take up any of its links. What a called agent
        # did before, in a conversation of its own, may be no part of this notebook.
        known = seen.get(conversation)
        is_called = record.run.started is not None and bool(record.run.started.caller)
        if record.before not in (known or {GENESIS}) and not (known is None and is_called):
            missing = "it does not follow on the run before it" if known else "an earlier run is missing"
            yield Change(f"run {record.run.id}", f"{missing}, or its first link was changed")
        yield from _links(record, most)
        seen.setdefault(conversation, set()).update(line.link for line in record.lines)


def _links(record: Record, most: int | None) -> Iterator[Change]:
    """most: bytes of the longest output that the export kept; None where it kept all."""
    before = record.before
    for number, (line, event) in enumerate(zip(record.lines, record.run.events, strict=True)):
        where = f"{_step(getattr(event, 'step', None))}event {number} ({getattr(event, 'kind', '?')})"
        where = f"record of run {record.run.id}, {where}"
        if event.seq != number:
            yield Change(where, f"it is numbered {event.seq}: an event was removed, added or moved")
        if line.link != link(before, line.body):
            yield Change(where, "it was changed, or one before it removed, added or moved")
        may_lack = most is not None and getattr(event, "kind", "") in SHOWN
        for name in blob_names(line.body):
            text = record.blobs.get(name)
            if text is None:
                yield Change(where, "a long text of it is missing, or was changed where it stands in a cell")
            elif digest(text) != name and not (may_lack and is_left_out(text, name)):
                yield Change(where, "a long text of it was changed")
        before = line.link


def _facts(notebook: Mapping[str, Any], records: Sequence[Record]) -> Iterator[Change]:
    """The notebook's own metadata against what the record gives."""
    named = {name for record in records for line in record.lines for name in blob_names(line.body)}
    for name in sorted(set(_object(facts_of(notebook).get("blobs"))) - named):
        yield Change(f"metadata.blobs.{one_line(name, 70)}", "it was added: no event names it")
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
    stamps = int(is_stamped(notebook))
    actual = _list(notebook.get("cells"))[stamps:]
    keys, found = [_key(cell) for cell in expected], [_key(cell) for cell in actual]
    for at, key in enumerate(found):
        if key not in keys or found.index(key) != at:
            yield Change(f"cell {at + 1 + stamps}", "it was added: it is not in the record")
    for cell, key in zip(expected, keys, strict=True):
        if key not in found:
            yield Change(_name(cell), "its cell was removed")
    yield from _moved(expected, keys, [key for key in found if key in keys])
    by_key = dict(zip(reversed(found), reversed(actual), strict=True))
    for cell, key in zip(expected, keys, strict=True):
        if key in by_key:
            yield from _cell(_name(cell), cell, by_key[key])


def is_stamped(notebook: Mapping[str, Any]) -> bool:
    """Whether an earlier check's stamp stands where stamps are put: first. Elsewhere it is a cell that was added."""
    return any(is_stamp(cell) for cell in _list(notebook.get("cells"))[:1])


def is_stamp(cell: Any) -> bool:
    """Whether the cell is a stamp of an earlier check: text only, so that nothing can hide behind the word."""
    is_text = _object(cell).get("cell_type") == "markdown" and set(_object(cell)) <= _FIELDS_OF_STAMP
    return is_text and _facts_of(cell).get("role") == STAMP


def _moved(expected: Sequence[Any], keys: Sequence[Any], found: Sequence[Any]) -> Iterator[Change]:
    there = [key for key in keys if key in found]
    for tag, start, end, _from, _to in SequenceMatcher(None, there, list(dict.fromkeys(found)), False).get_opcodes():
        if tag in ("delete", "replace"):
            for key in there[start:end]:
                yield Change(_name(expected[keys.index(key)]), "its cell was moved")


def _cell(name: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[Change]:
    is_code = expected["cell_type"] == "code"
    if expected["cell_type"] != actual.get("cell_type"):
        yield Change(name, "its cell_type was changed")
    if not (_same_code if is_code else _same_text)(expected["source"], actual.get("source")):
        yield Change(name, f"its {'code' if is_code else 'text'} was changed")
    # JupyterLab writes an empty object where there are none.
    if (expected.get("attachments") or None) != (actual.get("attachments") or None):
        yield Change(name, "its attachments was changed")
    for field in sorted(set(actual) - _FIELDS_OF_CELL, key=str):
        yield Change(f"{name}, {field}", "it was added")
    yield from _different(f"{name}, metadata", _facts_of(expected), _facts_of(actual))
    yield from _tags(name, expected, actual)
    then, now = _outputs(expected), _outputs(actual)
    if len(then) != len(now):
        yield Change(name, f"it has {len(now)} outputs instead of {len(then)}")
    for number, (one, other) in enumerate(zip(then, now, strict=False), 1):
        if any(_different("", one, other)):
            yield Change(name, f"its output {number if len(then) > 1 else ''} was changed".replace("  ", " "))


def _tags(name: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[Change]:
    wanted = set(expected.get("metadata", {}).get("tags", ()))
    found = {tag for tag in _list(_object(actual.get("metadata")).get("tags")) if isinstance(tag, str)}
    if missing := wanted - found:
        yield Change(name, f"its tag {', '.join(sorted(missing))} was removed")
    if added := (found - wanted) & _TELLING_TAGS:
        yield Change(name, f"a tag was added: {', '.join(sorted(added))}")


def _outputs(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outputs without what programs add; neighbours of one stream are one."""
    found: list[dict[str, Any]] = []
    for output in map(_object, _list(cell.get("outputs"))):
        one = {key: _text(item) for key, item in output.items() if key not in ("metadata", "execution_count")}
        if "data" in one:
            data = _object(output["data"])
            one["data"] = {mime: item if _JSON_MIME.fullmatch(mime) else _text(item) for mime, item in data.items()}
        if sizes := _sizes(_object(output.get("metadata"))):
            one["size"] = sizes
        if found and one.get("output_type") == "stream" and found[-1].get("name") == one.get("name"):
            found[-1]["text"] = f"{found[-1].get('text')}{one.get('text')}"
        else:
            found.append(one)
    for one in found:
        if one.get("output_type") == "stream":
            one["text"] = str(one.get("text")).rstrip("\n")
    return found


def _sizes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """How large a picture is to be shown: nothing can be read of one that is a pixel wide."""
    places = {"": metadata, **{key: item for key, item in metadata.items() if isinstance(item, Mapping)}}
    return {f"{place}.{key}": item[key] for place, item in places.items() for key in ("width", "height") if key in item}


def _joined(value: Any) -> Any:
    """A text of a notebook, which files have as a list of lines."""
    is_lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "".join(value) if is_lines else value


def _text(value: Any) -> Any:
    """A text of a notebook; blanks at line ends don't count."""
    value = _joined(value)
    if not isinstance(value, str):
        return value
    return "\n".join(line.rstrip(" \t\r") for line in value.rstrip(" \t\r\n").split("\n"))


def _same_text(then: Any, now: Any) -> bool:
    return bool(_text(then) == _text(now))


def _same_code(then: Any, now: Any) -> bool:
    """Equal; or with other blanks at line ends, where they mean nothing: they do within a string or after a `\\`."""
    then, now = _joined(then), _joined(now)
    if not isinstance(then, str) or not isinstance(now, str):
        return False
    one, other = (text.replace("\r\n", "\n").removesuffix("\n") for text in (then, now))
    if one == other:
        return True
    try:
        return _same_text(one, other) and ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False  # what is no plain Python (a magic, a shell's command) may mean something else


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


def _key(cell: Mapping[str, Any]) -> tuple[str, str, str, str]:
    facts = _facts_of(cell)
    # One step may have called several agents: each is told in a cell of its own, beneath the same event.
    return str(facts.get("role")), str(facts.get("run")), str(facts.get("seq")), str(facts.get("agent"))


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
