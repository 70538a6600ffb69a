"""The answer of a run as the result of a cell."""

from __future__ import annotations

from typing import Any

from cellwright.run import Run


class Answer:
    """The answer of a run as the result of a cell: rich to look at, `value` and `run` to go on with."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def value(self) -> object:
        """The answer: plain data, or its text."""
        return self.run.answer

    def __repr__(self) -> str:
        return str(self.run.answered.data.get("text/plain", self.run.answer)) if self.run.answered else "no answer"

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        answered = self.run.answered
        if answered is None:
            return {"text/plain": repr(self)}, {}
        return dict(answered.data), dict(answered.metadata)
