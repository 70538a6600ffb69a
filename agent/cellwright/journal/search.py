"""Full-text search: which run spoke of something, and where.

The index is SQLite's FTS5 over what people and models wrote: tasks, thoughts, code, answers, error texts. It keeps no
text of its own, so an entry is small; the words around a hit are cut out of the event. A row's number says which event
it is: the run's number and the event's. What a person types is words, never the operators of FTS5.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..chain import restored
from ..events import (
    ActionDecided,
    ActionProposed,
    AnswerGiven,
    Event,
    Output,
    Planned,
    ReplyReceived,
    RunEnded,
    RunStarted,
    Told,
    ToolCalled,
)
from ..outputs import Failure
from .listing import RunSummary

Place = Literal["task", "thought", "code", "answer", "error"]
PLACES: tuple[Place, ...] = get_args(Place)

LONGEST = 100_000
"""Characters of one text that are in the index."""
MOST_WORDS = 16
"""So many words of what is searched for count."""
AROUND = 60
"""Characters on each side of a hit that are shown."""
_BITS = 24  # a run has fewer than 16 million events

# Chinese and Japanese are written without blanks; each character is indexed as a word, and several as a phrase.
_HAN = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
_CHUNKS = re.compile(r'"([^"]*)"?|(\S+)')


@dataclass(frozen=True, slots=True)
class Found:
    """A run in which the words were found, and the best place in it."""

    run: RunSummary
    place: Place
    step: int
    """0 for the task itself."""
    snippet: str
    """One line around the first hit."""
    hits: Sequence[tuple[int, int]]
    """Start and end, in `snippet`, of the words that were found."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An event that holds the words."""

    run_id: str
    seq: int


def texts(event: Event) -> dict[Place, str]:
    """What there is to find in an event."""
    found: dict[Place, str] = {}
    match event:
        case RunStarted():
            found = {"task": event.task}
        case Told():
            found = {"task": event.text}
        case Planned():
            found = {"thought": event.text}
        case ReplyReceived() if not event.calls and "```" not in event.text:
            found = {"thought": event.text}  # with an action in it, the proposal that follows says the same
        case ActionProposed():
            found = {"thought": event.thought, "code": event.code}
        case ActionDecided() if event.verdict == "edited":
            found = {"code": event.code}
        case AnswerGiven():
            found = {"answer": _answer(event)}
        case ToolCalled() if event.error:
            found = {"error": event.error}
        case Output(output=Failure() as failure):
            found = {"error": f"{failure.ename}: {failure.evalue}"}
        case RunEnded() if event.reason:
            found = {"error": event.reason}
    # Half characters (lone surrogates), which the database can't hold, become `?`, as in the event's own JSON.
    return {place: _whole(text[:LONGEST]) for place, text in found.items() if text.strip()}


def _whole(text: str) -> str:
    return text.encode(errors="replace").decode()


def _answer(event: AnswerGiven) -> str:
    texts = [event.value] if isinstance(event.value, str) else []
    texts += [text for kind, text in event.data.items() if kind.startswith("text/plain") and text not in texts]
    return "\n".join(filter(lambda text: isinstance(text, str), texts))


def index(db: sqlite3.Connection, number: int, event: Event) -> None:
    """Take the event of the run with that number into the index."""
    found = texts(event)
    if found:
        row = (number << _BITS | event.seq, *(_spaced(found.get(place, "")) for place in PLACES))
        db.execute("INSERT INTO words (rowid, task, thought, code, answer, error) VALUES (?, ?, ?, ?, ?, ?)", row)


def fill(db: sqlite3.Connection) -> None:
    """Make the index anew from all events. One that can't be read is left out."""
    db.execute("INSERT INTO words (words) VALUES ('delete-all')")

    def blob(name: str) -> str:
        row = db.execute("SELECT text FROM blobs WHERE sha256 = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    for number, run_id in db.execute("SELECT number, run_id FROM runs"):
        for (body,) in db.execute("SELECT body FROM events WHERE run_id = ?", (run_id,)):
            try:
                index(db, number, restored(body, blob))
            except ValueError:
                continue


# ---- looking --------------------------------------------------------------------------------------------------------


def phrases(text: str) -> list[str]:
    """The words that a person typed; what stands between double quotes is one phrase."""
    text = _whole(text.replace("\0", " "))
    chunks = (quoted or word.replace('"', " ") for quoted, word in _CHUNKS.findall(text))
    # Only what holds a letter or digit: the index has nothing else.
    words = dict.fromkeys(chunk.strip() for chunk in chunks if any(map(str.isalnum, chunk)))
    return list(words)[:MOST_WORDS]


def hits(db: sqlite3.Connection, words: Sequence[str], allowed: set[int] | None = None) -> Iterator[Hit]:
    """The best event of each run that holds all the words, best run first. allowed: numbers of the runs to look in."""
    matches = [_match(word) for word in words]
    if not matches:
        return
    if len(matches) > 1:
        for match in matches:  # each word may stand elsewhere in the run
            query = f"SELECT DISTINCT rowid >> {_BITS} FROM words WHERE words MATCH ?"
            having = {number for (number,) in db.execute(query, (match,))}
            allowed = having if allowed is None else allowed & having
            if not allowed:
                return
    seen: set[int] = set()
    for (row,) in db.execute("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank", (" OR ".join(matches),)):
        number = row >> _BITS
        if number in seen or (allowed is not None and number not in allowed):
            continue
        seen.add(number)
        known = db.execute("SELECT run_id FROM runs WHERE number = ?", (number,)).fetchone()
        if known:
            yield Hit(known[0], row & (1 << _BITS) - 1)


def found_in(event: Event, words: Sequence[str], run: RunSummary) -> Found:
    """Where in the event the words are, and the text around the first of them."""
    patterns = [_pattern(word) for word in words]
    best: tuple[int, Place, str, list[tuple[int, int]]] = (-1, "task", "", [])
    for place, text in texts(event).items():
        folded = _folded(text)
        spans = [match.span() for pattern in patterns for match in pattern.finditer(folded) if match.group()]
        count = sum(bool(pattern.search(folded)) for pattern in patterns)
        if count > best[0]:
            best = (count, place, text, sorted(spans))
    _, place, text, spans = best
    snippet, shown = _cut(text, spans)
    return Found(run, place, getattr(event, "step", 0), snippet, shown)


def _match(word: str) -> str:
    """The word as a string of FTS5; from three letters on also as the beginning of a longer one."""
    quoted = '"' + _spaced(word).replace('"', '""') + '"'
    return quoted + "*" if len(word) >= 3 and word[-1].isalnum() else quoted


def _spaced(text: str) -> str:
    return _HAN.sub(r" \1 ", text)


def _pattern(word: str) -> re.Pattern[str]:
    tokens = re.findall(r"[^\W_]+", _spaced(_folded(word)))
    begin = "" if not tokens or _HAN.match(tokens[0]) else r"(?<![^\W_])"
    return re.compile(begin + r"[\W_]*".join(map(re.escape, tokens)))


def _folded(text: str) -> str:
    """Without accents and capitals, of the same length: as the index sees it."""
    if text.isascii():
        return text.lower()
    return "".join((unicodedata.normalize("NFD", character)[0].lower() or character)[0] for character in text)


def _cut(text: str, spans: Sequence[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    first = spans[0] if spans else (0, 0)
    start, end = max(0, first[0] - AROUND), min(len(text), first[1] + AROUND)
    # Cut between words, where one ends nearby.
    if start and (blank := text.find(" ", start, first[0])) >= 0:
        start = blank + 1
    if end < len(text) and (blank := text.rfind(" ", first[1], end)) >= 0:
        end = blank
    head, tail = "… " if start else "", " …" if end < len(text) else ""
    # White space becomes blanks one by one, so that places stay what they are.
    snippet = head + re.sub(r"\s", " ", text[start:end]) + tail
    shift = len(head) - start
    return snippet, [(a + shift, b + shift) for a, b in spans if start <= a and b <= end]
