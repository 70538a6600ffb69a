"""A conversation as a notebook that anybody can read, and run again without us.

    notebook(runs)          an nbformat 4.5 notebook on the `python3` kernel
    write(runs, path)       the same as a file, whole or not at all

It is made from the events alone, so the same runs give the same bytes. The cells, in order: what this is; a preamble
that defines `final_answer` and stand-ins for tools; for each run its task, the values put in, each step's thought
(Markdown) and action (code with its real outputs), and how it ended. `metadata.cellwright` holds the rest of the
record: of the notebook `schema`, `version`, `conversation`, `runs`; of each cell its `role`, `run`, `step` and events.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING

from ..errors import ExportError, one_line
from ..events import SCHEMA_VERSION, AnswerGiven, ToolCalled, ValuePut
from ..outputs import Json, plain_text
from ..run import Run, Step
from . import cells
from .head import ending, head, preamble, started, total, when

if TYPE_CHECKING:
    from nbformat import NotebookNode

_STOPPED = {
    "interrupted": "was interrupted",
    "timeout": "ran longer than it may and was stopped",
    "died": "ended the sandbox's process",
    None: "was under way when the record ends",
}


def notebook(runs: Sequence[Run]) -> NotebookNode:
    """The audit notebook of one conversation, its runs in order. Raises `ExportError` when there are none."""
    runs = [run for run in runs if run.started]
    if not runs:
        raise ExportError("There is no run to export. Give a task first, or name a run; `cellwright runs` lists them.")
    return cells.whole(_Writer(runs).cells(), _metadata(runs))


def write(runs: Sequence[Run], path: Path | str) -> None:
    """Write the audit notebook to `path`, whole or not at all; a file there is replaced. Raises `ExportError`."""
    import nbformat
    from nbformat import v4

    path = Path(path)
    made = notebook(runs)
    try:
        nbformat.validate(made)
        text: str = v4.writes(made)  # type: ignore[no-untyped-call]  # `nbformat.writes` would validate again
        _replace(path, (text.rstrip("\n") + "\n").encode(errors="replace"))
    except OSError as error:
        raise ExportError(f"{path} can't be written: {error.strerror or error}. Choose another path.") from error
    except (nbformat.ValidationError, ValueError) as error:
        raise ExportError(f"This run has no valid notebook form: {one_line(str(error))} Please report it.") from error


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp makes 0600; a notebook is as readable as any file of its folder
        Path(name).replace(path)
    except BaseException:  # cancelled, too: half a notebook must not stay behind; it is raised again
        Path(name).unlink(missing_ok=True)
        raise


def _metadata(runs: Sequence[Run]) -> dict[str, Json]:
    first = started(runs[0])
    sandbox = next((start.sandbox for run in runs if (start := run.started) and start.sandbox), None)
    language = {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "pygments_lexer": "ipython3",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "nbconvert_exporter": "python",
    }
    if sandbox:
        language["version"] = sandbox.python
    return {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": language,
        "cellwright": {
            "schema": SCHEMA_VERSION,
            "version": first.version,
            "conversation": first.conversation,
            "runs": [_record(run) for run in runs],
        },
    }


def _record(run: Run) -> dict[str, Json]:
    """What is known of a run as a whole."""
    return {
        "started": cells.facts(started(run)),
        "ended": cells.facts(run.ended) if run.ended else None,
        "events": len(run.events),
    }


class _Writer:
    """Writes the cells of a conversation, in order."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.body: list[NotebookNode] = []
        self.run = runs[0]
        self.calls: list[ToolCalled] = []
        """Of the code cells: those that a re-execution makes again."""
        self.has_tables = False
        self.begins_anew = False
        self._state_lost = False
        """All variables were lost since the last code cell."""

    def cells(self) -> list[NotebookNode]:
        """All cells, the first two made last: they depend on what the others need."""
        instance: int | None = None
        for run in self.runs:
            sandbox = started(run).sandbox
            if sandbox and instance is not None and sandbox.instance != instance:
                self._state_lost = True  # restarted between two runs
            self._run(run)
            if sandbox:
                lost = sum(1 for step in run.steps if getattr(step.finished, "state_lost", False))
                instance = sandbox.instance + lost
        has_tools = any(started(run).tools for run in self.runs)
        conversation = started(self.runs[0]).conversation
        facts = {"role": "head", "totals": _totals(self.runs)}
        source = preamble(self.runs, self.calls, has_tables=self.has_tables, begins_anew=self.begins_anew)
        return [
            cells.markdown(f"{conversation}:head", head(self.runs, has_tools=has_tools), facts),
            cells.code(f"{conversation}:preamble", source, {"role": "preamble"}, tags=["cellwright-preamble"]),
            *self.body,
        ]

    # ---- a run ------------------------------------------------------------------------------------------------------

    def _run(self, run: Run) -> None:
        self.run = run
        start = started(run)
        if start.author == "person":
            self._markdown(
                "task", start.seq, f"## By hand\n\nA person ran this cell in the sandbox, {when(start.time)}."
            )
            if not run.steps:
                self._not_run(Step(1), start.task, "**Not run.**")
        else:
            self._markdown("task", start.seq, f"## Task\n\n{cells.quoted(start.task)}\n\n{when(start.time)}")
        for value in (event for event in run.events if isinstance(event, ValuePut)):
            self._value(value)
        for step in run.steps:
            self._step(step, is_by_hand=start.author == "person")
        if run.answered and not run.answered.confirmed:
            self._unconfirmed(run.answered)
        if start.author == "agent" or run.status != "success":
            self._markdown("end", run.events[-1].seq, ending(run))

    def _value(self, value: ValuePut) -> None:
        if value.form == "table":
            self.has_tables = True
            text = str(value.value)
            lines = "\n".join(text[at : at + 120] for at in range(0, len(text), 120))
            source = f'# A table that a person gave.\n{value.name} = _table("""\n{lines}\n""")'
        else:
            literal = pformat(value.value, width=100, sort_dicts=False)
            source = f"# A value that a person gave.\n{value.name} = {literal}"
        self._code("value", value.seq, source, cells.facts(value, "value"), hidden=value.form == "table")

    # ---- a step -----------------------------------------------------------------------------------------------------

    def _step(self, step: Step, *, is_by_hand: bool) -> None:
        code = step.code or (self.run.task if is_by_hand else "")
        if not is_by_hand:
            self._thought(step, code)
        if not code:
            return
        ran = step.outcome in ("ok", "error")
        if ran:
            self._action(step, code)
        elif step.outcome == "denied" or (step.decided and step.decided.verdict == "denied"):
            by = cells.inline(step.decided.by) if step.decided else "unknown"
            reason = step.note or (step.decided.reason if step.decided else "")
            self._not_run(step, code, f"**Not run**: denied by {by}. {reason}".rstrip())
        elif step.decided is None:
            self._not_run(step, code, "**Not run**: it was proposed, and nobody decided.")
        else:
            self._stopped(step, code)
        if getattr(step.finished, "state_lost", False):
            self._state_lost = True

    def _thought(self, step: Step, code: str) -> None:
        facts: dict[str, Json] = {"step": step.number}
        if step.reply:
            facts["reply"] = cells.facts(step.reply, "step")
        if step.plan:
            facts["plan"] = cells.facts(step.plan, "step")
            self._markdown("plan", step.plan.seq, f"### Plan\n\n{step.plan.text.strip()}", {"step": step.number})
        text = step.thought
        if not code and step.reply:
            text = f"{cells.quoted(step.reply.text)}\n\n**No action**: {step.note or 'the record ends here.'}"
        elif step.decided and step.decided.verdict == "edited":
            by = cells.inline(step.decided.by)
            text += f"\n\n**Edited** by {by} before it ran. {step.decided.reason}".rstrip()
        self._markdown("thought", _seq(step), f"### Step {step.number}\n\n{text}".rstrip(), facts)

    def _action(self, step: Step, code: str) -> None:
        self.calls += step.calls
        outputs = [cells.output(shown) for shown in step.outputs]
        answer = self.run.answered
        if answer and answer.confirmed and answer.step == step.number:
            # What `final_answer` shows when the cell runs again. It came before the error, if there is one.
            at = len(outputs) - (step.outcome == "error")
            outputs.insert(at, cells.display(answer.data, answer.metadata))
        # The tag says that the error belongs here, so that a re-execution goes on after it.
        tags = ["raises-exception"] if step.outcome == "error" else []
        self._code("action", _seq(step), code, self._action_facts(step), outputs=outputs, tags=tags)

    def _stopped(self, step: Step, code: str) -> None:
        """Code that must not run again, because it would hang or end the kernel that runs this notebook.

        Markdown, not a raw cell: GitHub and nbviewer show a fenced block with colours, a raw cell hardly or not at all.
        Not a code cell with a tag either: no tag keeps every tool from running it.
        """
        note = f" {step.note}" if step.note else ""
        said = f"**Not run again**: this code {_STOPPED[step.outcome]}.{note}"
        printed = "\n".join(filter(None, map(plain_text, step.outputs)))
        shown = f"What it had shown:\n\n{cells.fenced(printed)}" if printed else ""
        self._not_run(step, code, said, shown)

    def _not_run(self, step: Step, code: str, said: str, shown: str = "") -> None:
        facts = self._action_facts(step)
        if step.outputs:
            facts["outputs"] = [cells.output(output) for output in step.outputs]
        text = "\n\n".join(filter(None, (said, cells.fenced(code, "python"), shown)))
        self._markdown("action", _seq(step), text, facts)

    def _action_facts(self, step: Step) -> dict[str, Json]:
        facts: dict[str, Json] = {"step": step.number, "outcome": step.outcome}
        if step.proposed:
            was_edited = step.decided is not None and step.decided.code != step.proposed.code
            facts["proposed"] = cells.facts(step.proposed, "step", "thought", *(() if was_edited else ("code",)))
        if step.decided:
            facts["decided"] = cells.facts(step.decided, "step", "code")
        if step.calls:
            facts["calls"] = [cells.facts(call, "step") for call in step.calls]
        answer = self.run.answered
        if answer and answer.confirmed and answer.step == step.number:
            facts["answer"] = cells.facts(answer, "step", "data", "metadata")
        if step.finished:
            facts["finished"] = cells.facts(step.finished, "step")
        return facts

    def _unconfirmed(self, answer: AnswerGiven) -> None:
        text = str(answer.data.get("text/markdown") or answer.data.get("text/plain", ""))
        said = "**Answer, unconfirmed**: the model said it, but no code computed it."
        self._markdown("answer", answer.seq, f"{said}\n\n{cells.quoted(text)}", {"answer": cells.facts(answer)})

    # ---- a cell -----------------------------------------------------------------------------------------------------

    def _markdown(self, role: str, seq: int, text: str, facts: dict[str, Json] | None = None) -> None:
        key = f"{self.run.id}:{seq}:{role}"
        self.body.append(cells.markdown(key, text, {"role": role, "run": self.run.id, **(facts or {})}))

    def _code(
        self,
        role: str,
        seq: int,
        source: str,
        facts: dict[str, Json],
        *,
        outputs: Sequence[NotebookNode] = (),
        tags: Sequence[str] = (),
        hidden: bool = False,
    ) -> None:
        key = f"{self.run.id}:{seq}:{role}"
        if self._state_lost:
            self._state_lost = False
            self.begins_anew = True
            anew = "_begin_anew()  # here a new sandbox began, without the variables of the old one"
            self.body.append(cells.code(f"{key}:anew", anew, {"role": "anew", "run": self.run.id}))
        facts = {"role": role, "run": self.run.id, **facts}
        self.body.append(cells.code(key, source, facts, outputs=outputs, tags=tags, hidden=hidden))


def _seq(step: Step) -> int:
    """Number of the first event of the step: with the role it makes the cell's id."""
    known = (step.reply, step.proposed, step.decided, *step.calls, step.finished)
    return next((event.seq for event in known if event), step.number)


def _totals(runs: Sequence[Run]) -> Json:
    from dataclasses import asdict

    return asdict(total(runs))
