"""The answer of a run as the result of a cell.

A cell shows the answer as richly as it is. What is done in it is the run, and that is what `%%agent` returns to code;
but `_` and `Out[n]` hold the answer itself, plain data or a table, because that is what the next cell goes on with.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cellwright.errors import SandboxError
from cellwright.run import Run

if TYPE_CHECKING:
    from .session import Session


class Answer(Run):
    """A run that is shown as its answer.

    value: the answer: plain data or a table. One that can't leave the sandbox (a figure, a fitted model) is the run
    itself, which shows it.
    """

    def __init__(self, run: Run, *value: object) -> None:
        super().__init__(run.events)
        self.value = value[0] if value else self

    @classmethod
    async def of(cls, run: Run, session: Session) -> Answer:
        """The answer of a run that has just ended, its value fetched from the sandbox."""
        try:
            return cls(run, await session.answer_of(run))
        except SandboxError:
            return cls(run)

    def __repr__(self) -> str:
        return str(self.answered.data.get("text/plain", self.answer)) if self.answered else "no answer"

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.answered is None:
            return {"text/plain": repr(self)}, {}
        return dict(self.answered.data), dict(self.answered.metadata)


def keep_value(shell: Any, shown: object) -> None:
    """Have `_`, `_n` and `Out[n]` of an IPython shell hold the answer where they hold the run that was shown."""
    if not isinstance(shown, Answer):
        return
    out, names = shell.user_ns["_oh"], shell.user_ns
    held = [name for name, value in names.items() if value is shown and re.fullmatch(r"_\d*", name)]
    # As the display hook itself does it (IPython/core/displayhook.py, `update_user_ns`): where `_` is not what it knows
    # of, it takes it for the person's own and never sets it again.
    shell.push(dict.fromkeys(held, shown.value), interactive=False)
    if shell.displayhook._ is shown:
        shell.displayhook._ = shown.value
    for number in [number for number, value in out.items() if value is shown]:
        out[number] = shown.value
