"""The rows in the pages of a SQLite file, read without SQLite: what is left when SQLite itself gives up.

Only what a repair needs of the file format (sqlite.org/fileformat2.html): leaf pages of tables, and keys in pages of
indexes, each page for itself, so that damage to one costs nothing of another; and the pages that wait in the
write-ahead log. Nothing here is trusted: who calls proves each row by its hash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Value = None | int | float | str | bytes
_MAGIC = b"SQLite format 3\0"
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_USUAL_SIZE = 4096
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of some table, or a key of some index."""

    number: int | None
    """The rowid; None for a key of an index."""
    values: Sequence[Value]


def rows(path: Path) -> Iterator[Row]:
    """Every row and key that can be read, some of them more than once. Raises `OSError`."""
    data = path.read_bytes()
    log_file = path.with_name(path.name + "-wal")
    log = log_file.read_bytes() if log_file.exists() else b""
    size = _page_size(data, log)
    stored = {n + 1: data[n * size : (n + 1) * size] for n in range(-(-len(data) // size))}
    logged = list(_frames(log, size))
    newest = stored | dict(logged)
    for number, page in [*stored.items(), *logged]:
        # A long row goes on in other pages; which state of them belongs to it can't be known, so both are tried.
        for pages in (newest, stored) if logged else (stored,):
            yield from _rows_of(page, 100 if number == 1 else 0, pages, size)


def _page_size(data: bytes, log: bytes) -> int:
    said = int.from_bytes(data[16:18], "big") if data.startswith(_MAGIC) else int.from_bytes(log[8:12], "big")
    size = 65536 if said == 1 else said
    return size if 512 <= size <= 65536 and size & (size - 1) == 0 else _USUAL_SIZE


def _frames(log: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """The pages in the log, oldest first; what is left of an earlier round of it is not ours to read."""
    salts = log[16:24]
    for start in range(32, len(log) - 24 - size + 1, 24 + size):
        if log[start + 8 : start + 16] == salts:
            yield int.from_bytes(log[start : start + 4], "big"), log[start + 24 : start + 24 + size]


def _rows_of(page: bytes, head: int, pages: Mapping[int, bytes], size: int) -> Iterator[Row]:
    if len(page) < head + 8:
        return
    kind = page[head]
    if kind not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER):
        return
    count = int.from_bytes(page[head + 3 : head + 5], "big")
    first = head + (12 if kind == _INDEX_INNER else 8)
    for place in range(first, min(first + 2 * count, len(page) - 1), 2):
        try:
            yield _row(page, int.from_bytes(page[place : place + 2], "big"), kind, pages, size)
        except (IndexError, KeyError, ValueError, struct.error):
            continue  # damaged


def _row(page: bytes, at: int, kind: int, pages: Mapping[int, bytes], size: int) -> Row:
    at += 4 if kind == _INDEX_INNER else 0
    length, at = _varint(page, at)
    number = None
    if kind == _TABLE_LEAF:
        number, at = _varint(page, at)
    most = size - 35 if kind == _TABLE_LEAF else (size - 12) * 64 // 255 - 23
    if length <= most:
        return Row(number, _values(_exactly(page[at : at + length], length)))
    least = (size - 12) * 32 // 255 - 23
    here = least + (length - least) % (size - 4)
    here = here if here <= most else least
    payload = bytearray(page[at : at + here])
    follows = int.from_bytes(page[at + here : at + here + 4], "big")
    while len(payload) < length:
        if not follows:
            raise ValueError("the row is cut off")
        rest = pages[follows]
        payload += rest[4 : 4 + min(length - len(payload), size - 4)]
        if len(rest) < size:
            raise ValueError("the page is cut off")
        follows = int.from_bytes(rest[:4], "big")
    return Row(number, _values(_exactly(bytes(payload), length)))


def _values(payload: bytes) -> list[Value]:
    head, at = _varint(payload, 0)
    types = []
    while at < head:
        kind, at = _varint(payload, at)
        types.append(kind)
    values: list[Value] = []
    for kind in types:
        value, length = _value(kind, payload, at)
        values.append(value)
        at += length
    if at != len(payload):
        raise ValueError("the row is longer than its columns")
    return values


def _value(kind: int, payload: bytes, at: int) -> tuple[Value, int]:
    if kind == 0:
        return None, 0
    if kind in _INTEGERS:
        length = _INTEGERS[kind]
        return int.from_bytes(_exactly(payload[at : at + length], length), "big", signed=True), length
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], 8
    if kind in (8, 9):
        return kind - 8, 0
    if kind < 12:
        raise ValueError("no such type of value")
    length = (kind - 12) // 2
    data = _exactly(payload[at : at + length], length)
    return (data.decode() if kind % 2 else data), length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for length in range(1, 10):
        byte = data[at]
        at += 1
        if length == 9:
            return value << 8 | byte, at
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, at


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise ValueError("the page is cut off")
    return data
