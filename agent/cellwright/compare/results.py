"""The file of results: settings in its first line, then one line for each run that is over.

Each line is on the disk, fsync included, before the next run begins. When the process is killed while it writes, the
last line is torn; it is cut off at the next start, and its run is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ..errors import UsageError, one_line
from ..outputs import Json

FORM = 1
"""Version of the file's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one run went."""

    task: str
    """Id of the task."""
    agent: str
    """`code` or `tools`."""
    model: str
    repeat: int
    """From 1."""
    success: bool
    """True when the answer is the expected one."""
    status: str
    """How the run ended; `success` also for a wrong answer."""
    steps: int
    calls: int
    """Calls of functions, over all steps."""
    tokens: int
    """Sent and written."""
    seconds: float
    """Wall time, without the start of the sandbox and of the model."""
    cost: float | None
    """US dollars; None when a price is unknown."""
    run_id: str
    """Its run in the journal."""
    answer: str
    """As text, cut."""
    reason: str
    """Why it ended as it did, in one line; empty on success."""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What the run was: task, agent, model and repeat."""
        return self.task, self.agent, self.model, self.repeat


class ResultFile:
    """Results that are appended one by one; a context that closes the file.

    settings: what results must have in common to be compared. Raises `UsageError` where the file holds results of other
    settings, a line that can't be read, or can't be opened.
    """

    def __init__(self, path: Path, settings: Mapping[str, Json]) -> None:
        self.path = path
        self.results: list[Result] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = _whole_lines(path)
            self._read(whole, settings)
            self._file = path.open("ab")
            self._file.truncate(sum(map(len, whole)))
            if not whole:
                self._write({"form": FORM, "settings": dict(settings)})
        except OSError as error:
            raise UsageError(f"{path} can't be written: {one_line(str(error))}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def add(self, result: Result) -> None:
        """Append a result; it is on the disk when this returns. Raises `UsageError` when the disk is full."""
        try:
            self._write(asdict(result))
        except OSError as error:
            raise UsageError(f"{self.path} can't be written: {one_line(str(error))}.") from error
        self.results.append(result)

    def _write(self, said: Mapping[str, Json]) -> None:
        self._file.write(json.dumps(said, ensure_ascii=False, default=str).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, lines: Sequence[bytes], settings: Mapping[str, Json]) -> None:
        for number, line in enumerate(lines, 1):
            try:
                said = json.loads(line)
                if number == 1:
                    self._check(said["settings"], settings)
                else:
                    self.results.append(Result(**said))
            except (ValueError, TypeError, KeyError) as error:
                raise UsageError(
                    f"{self.path}, line {number}: this is no result: {one_line(str(error), 80)}."
                ) from None

    def _check(self, there: Mapping[str, Json], here: Mapping[str, Json]) -> None:
        same = json.loads(json.dumps(here, default=str))
        for name in sorted({*there, *same}):
            if there.get(name) != same.get(name):
                raise UsageError(
                    f"{self.path} holds results of other settings ({name}: {_short(there.get(name))} there, "
                    f"{_short(same.get(name))} now); give another folder with --out, or the same settings."
                )


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that may not be there; a last one without its end was torn and is left out."""
    if not path.exists():
        return []
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _short(value: Json) -> str:
    return one_line(json.dumps(value), 40)
