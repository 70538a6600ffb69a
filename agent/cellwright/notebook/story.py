"""The cells of a conversation, in the order in which it happened: what a reader reads, and what runs again.

Of a run that was gone back from, the steps that still hold are code; those that were undone are told, and not run
again. So are steps that would hang or end the kernel that runs the notebook. Every cell says whose it is: its role, its
run, and the number of the event it begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pprint import pformat
from typing import TYPE_CHECKING

from ..events import (
    AnswerGiven,
    Compacted,
    Event,
    InputGiven,
    Planned,
    RunResumed,
    RunStarted,
    Told,
    ToolCalled,
    ValuePut,
)
from ..lineage import holding
from ..outputs import Json, plain_text
from ..record import Record
from ..run import Run, Step
from . import cells, functions, words
from .again import preamble
from .head import again, ending, head, started, total
from .nested import nested

if TYPE_CHECKING:
    from nbformat import NotebookNode

_STOPPED = {
    "interrupted": "was interrupted",
    "timeout": "ran longer than it may and was stopped",
    "died": "ended the sandbox's process",
    None: "was under way when the record ends",
}


def tell(records: Sequence[Record]) -> list[NotebookNode]:
    """All cells of the audit notebook."""
    return _Story(records).cells()


class _Story:
    """Writes the cells of a conversation, in order."""

    def __init__(self, records: Sequence[Record]) -> None:
        known = {record.run.id for record in records}
        self.records = records
        self.runs = [record.run for record in records if started(record.run).caller not in known]
        self.called = [record.run for record in records if started(record.run).caller in known]
        self.holds = {part.run.id: part.last for part in holding(self.runs)}
        """Of the runs that still hold: the last step that does, or None for all."""
        self.body: list[NotebookNode] = []
        self._keys: dict[str, int] = {}
        self.run = self.runs[0]
        self.calls: list[tuple[ToolCalled, str | None]] = []
        """Of the code cells: those that a re-execution makes again (`functions.Shown`)."""
        self.answers: list[AnswerGiven] = []
        """Those that a host showed, for agents that run no code."""
        self._results: set[str] = set()
        """Names of what such an agent's calls returned so far."""
        self.typed: list[InputGiven] = []
        """Of the code cells, too."""
        self.has_tables = self.has_parameters = self.begins_anew = False
        self._lines: dict[int, list[InputGiven]] = {}
        """What a person typed in this run, by step."""
        self._state_lost = False
        """All variables were lost since the last code cell."""
        self._instance: int | None = None
        """Number of the sandbox's process in which the last step ran."""

    def cells(self) -> list[NotebookNode]:
        """All cells, the first three made last: they depend on what the others need."""
        for run in self.runs:
            self._run(run)
        has_tools = any(started(run).tools for run in self.runs)
        conversation = started(self.runs[0]).conversation
        facts: dict[str, Json] = {"role": "head", "totals": asdict(total(self.runs))}
        how = again(self.runs, has_tools=has_tools, has_typed=bool(self.typed))
        source = preamble(
            self.runs,
            self.calls,
            self.typed,
            self.answers,
            has_tables=self.has_tables,
            begins_anew=self.begins_anew,
        )
        return [
            cells.markdown(f"{conversation}:head", head(self.records, self.runs), facts),
            cells.markdown(f"{conversation}:again", how, {"role": "again"}),
            cells.code(f"{conversation}:preamble", source, {"role": "preamble"}, tags=["cellwright-preamble"]),
            *self.body,
        ]

    # ---- a run ------------------------------------------------------------------------------------------------------

    def _run(self, run: Run) -> None:
        self.run, start = run, started(run)
        self._lines = {}
        for event in run.events:
            if isinstance(event, InputGiven):
                self._lines.setdefault(event.step, []).append(event)
        begun = words.begun(start, is_first=run is self.runs[0])
        if run.id not in self.holds and (start.author == "agent" or start.parent):
            self._markdown("task", start.seq, f"{begun}\n\n**Undone**: what follows was taken back.")
        else:
            self._markdown("task", start.seq, begun)
        if run.id in self.holds:
            self._sandbox_of(start)
            self._values([event for event in run.events if isinstance(event, ValuePut)])
        is_by_hand = start.author == "person"
        if is_by_hand and not run.steps and not start.parent:
            self._not_run(Step(1), start.task, "**Not run.**")
        asides = [event for event in run.events if isinstance(event, Told | Compacted | RunResumed)]
        for step in run.steps:
            while asides and asides[0].seq < _seq(step):
                self._aside(asides.pop(0))
            self._step(step, is_by_hand=is_by_hand)
        for event in asides:
            self._aside(event)
        if run.answered and not run.answered.confirmed:
            self._unconfirmed(run.answered)
        if not is_by_hand or run.status != "success":
            is_undone = any(self._is_undone(step.number) for step in run.steps)
            self._markdown("end", run.events[-1].seq, ending(run, is_undone=is_undone))

    def _is_undone(self, step: int) -> bool:
        """Whether that step was taken back."""
        last = self.holds.get(self.run.id, 0)
        return last is not None and step > last

    def _sandbox_of(self, start: RunStarted) -> None:
        """Note whether variables were lost since the run before. Where a run branched off, they were rebuilt."""
        if start.sandbox:
            was_restarted = self._instance is not None and start.sandbox.instance != self._instance
            self._state_lost |= start.state_lost if start.parent else was_restarted
            self._instance = start.sandbox.instance

    def _values(self, values: Sequence[ValuePut]) -> None:
        """Values that a person gave: a table in a cell of its own, all others in one that `papermill -p` finds."""
        last = {value.name: value for value in values}
        tables = [value for value in last.values() if value.form == "table"]
        for value in tables:
            self.has_tables = True
            text = str(value.value)
            lines = "\n".join(text[at : at + 120] for at in range(0, len(text), 120))
            source = f'# A table that a person gave.\n{value.name} = _table("""\n{lines}\n""")'
            self._code("value", value.seq, source, cells.facts(value, "value", "seq"), hidden=True)
        plain = [value for value in last.values() if value.form == "json"]
        if plain:
            given = (f"{value.name} = {pformat(value.value, width=100, sort_dicts=False)}" for value in plain)
            source = "\n".join(["# Values that a person gave.", *given])
            # Only the first cell with the tag is a notebook's parameters.
            tags = [] if self.has_parameters else ["parameters"]
            self.has_parameters = True
            names: list[Json] = [value.name for value in plain]
            self._code("value", plain[0].seq, source, {"form": "json", "names": names}, tags=tags)

    def _aside(self, event: Event) -> None:
        """What happened between two steps."""
        role, text = words.aside(event)
        if isinstance(event, RunResumed) and event.sandbox:
            self._instance = event.sandbox.instance
        self._markdown(role, event.seq, text, cells.facts(event, "text", "note", "seq"))

    # ---- a step -----------------------------------------------------------------------------------------------------

    def _step(self, step: Step, *, is_by_hand: bool) -> None:
        code = step.code or (self.run.task if is_by_hand else "")
        if not is_by_hand:
            self._thought(step, code)
        if code:
            self._decided_action(step, code)
        for run in self._agents_of(step):
            self._markdown("agent", _seq(step), nested(run, self.called), {"step": step.number, "agent": run.id})
        if getattr(step.finished, "state_lost", False) and not self._is_undone(step.number):
            self._state_lost = True
            self._instance = None if self._instance is None else self._instance + 1

    def _decided_action(self, step: Step, code: str) -> None:
        if self._is_undone(step.number):
            self._told_only(step, code, "**Undone**: this step was taken back, so it is not run again.")
        elif step.outcome in ("ok", "error"):
            self._action(step, code)
        elif step.outcome == "denied" or (step.decided and step.decided.verdict == "denied"):
            by = cells.inline(step.decided.by) if step.decided else "unknown"
            reason = step.note or (step.decided.reason if step.decided else "")
            self._not_run(step, code, f"**Not run**: denied by {by}. {reason}".rstrip())
        elif step.decided is None:
            self._not_run(step, code, "**Not run**: it was proposed, and nobody decided.")
        else:
            note = f" {step.note}" if step.note else ""
            self._told_only(step, code, f"**Not run again**: this code {_STOPPED[step.outcome]}.{note}")

    def _thought(self, step: Step, code: str) -> None:
        facts: dict[str, Json] = {"step": step.number}
        if step.plan:
            self._plan(step.plan)
        if step.reply:
            facts["reply"] = cells.facts(step.reply, "step", "text")
        parts = [f"### Step {step.number}{', undone' if self._is_undone(step.number) else ''}"]
        if not code and step.reply:
            parts.append(cells.quoted(step.reply.text))
            parts.append(f"**No action**: {step.note or 'the record ends here.'}")
        else:
            parts.append(step.thought.strip())
        parts += [words.edited(step), words.typed(self._typed_in(step)), words.provenance(step)]
        self._markdown("thought", _seq(step), "\n\n".join(filter(None, parts)), facts)

    def _plan(self, plan: Planned) -> None:
        text = f"### Plan\n\n{plan.text.strip()}\n\n{words.paid(plan)}"
        self._markdown("plan", plan.seq, text, {"step": plan.step, "plan": cells.facts(plan, "step", "text")})

    def _action(self, step: Step, code: str) -> None:
        self.typed += self._typed_in(step)
        if functions.calls_functions(self.run):
            self._calls(step, code)
            return
        self.calls += [(call, None) for call in step.calls]
        outputs = [cells.output(shown) for shown in step.outputs]
        if answer := self._answer_of(step):
            # What `final_answer` shows when the cell runs again. It came before the error, if there is one.
            at = len(outputs) - (step.outcome == "error")
            outputs.insert(at, cells.display(answer.data, answer.metadata))
        # The tag says that the error belongs here, so that a re-execution goes on after it.
        tags = ["raises-exception"] if step.outcome == "error" else []
        self._code("action", _seq(step), code, self._action_facts(step), outputs=outputs, tags=tags)

    def _calls(self, step: Step, code: str) -> None:
        """The action of an agent that calls functions by itself."""
        calls = functions.texts_of(self.run, step)
        failed = functions.failed(calls)
        source = functions.as_python(code, self._results, failed)
        self._results |= functions.assigned(code) - failed
        self.calls += calls
        outputs = [cells.output(shown) for shown in functions.shown(self.run, step)]
        if answer := self._answer_of(step):
            self.answers.append(answer)
            outputs.append(cells.display(answer.data, answer.metadata))
        self._code("action", _seq(step), source, self._action_facts(step), outputs=outputs)

    def _told_only(self, step: Step, code: str, said: str) -> None:
        """Code that must not run again, because it would hang or end the kernel, or was undone.

        Markdown, not a raw cell: GitHub and nbviewer show a fenced block with colours, a raw cell hardly or not at all.
        Not a code cell with a tag either: no tag keeps every tool from running it.
        """
        printed = [*map(plain_text, step.outputs)]
        if answer := self._answer_of(step):
            printed.append(str(answer.data.get("text/plain", "")))
        text = "\n".join(filter(None, printed))
        self._not_run(step, code, said, f"What it had shown:\n\n{cells.fenced(text)}" if text else "")

    def _not_run(self, step: Step, code: str, said: str, shown: str = "") -> None:
        text = "\n\n".join(filter(None, (said, cells.fenced(code, "python"), shown)))
        self._markdown("action", _seq(step), text, self._action_facts(step))

    def _action_facts(self, step: Step) -> dict[str, Json]:
        facts: dict[str, Json] = {"step": step.number, "outcome": step.outcome}
        if self._is_undone(step.number):
            facts["undone"] = True
        if step.proposed:
            was_edited = step.decided is not None and step.decided.code != step.proposed.code
            facts["proposed"] = cells.facts(step.proposed, "step", "thought", *(() if was_edited else ("code",)))
        if step.decided:
            facts["decided"] = cells.facts(step.decided, "step", "code")
        if step.calls:
            facts["calls"] = [cells.facts(call, "step") for call in step.calls]
        if typed := self._typed_in(step):
            facts["typed"] = [cells.facts(line, "step") for line in typed]
        if agents := self._agents_of(step):
            facts["agents"] = [run.id for run in agents]
        if answer := self._answer_of(step):
            facts["answer"] = cells.facts(answer, "step", "data", "metadata")
        if step.finished:
            facts["finished"] = cells.facts(step.finished, "step")
        return facts

    def _answer_of(self, step: Step) -> AnswerGiven | None:
        answer = self.run.answered
        return answer if answer and answer.confirmed and answer.step == step.number else None

    def _typed_in(self, step: Step) -> list[InputGiven]:
        return self._lines.get(step.number, [])

    def _agents_of(self, step: Step) -> list[Run]:
        """Runs of agents that this step called: those that began before it ended, and after the one before."""
        if not self.called:
            return []
        ends = {known.number: known.finished.time for known in self.run.steps if known.finished}
        begun = max((time for number, time in ends.items() if number < step.number), default=0.0)
        ended = ends.get(step.number, float("inf"))
        runs = (run for run in self.called if started(run).caller == self.run.id)
        return [run for run in runs if begun < started(run).time <= ended]

    def _unconfirmed(self, answer: AnswerGiven) -> None:
        text = str(answer.data.get("text/markdown") or answer.data.get("text/plain", ""))
        said = "**Answer, unconfirmed**: the model said it, but no code computed it."
        facts: dict[str, Json] = {"answer": cells.facts(answer)}
        self._markdown("answer", answer.seq, f"{said}\n\n{cells.quoted(text)}", facts)

    # ---- a cell -----------------------------------------------------------------------------------------------------

    def _markdown(self, role: str, seq: int, text: str, facts: Mapping[str, Json] | None = None) -> None:
        known = {"role": role, "run": self.run.id, "seq": seq, **(facts or {})}
        self.body.append(cells.markdown(self._key(role, seq), text, known))

    def _code(
        self,
        role: str,
        seq: int,
        source: str,
        facts: Mapping[str, Json],
        *,
        outputs: Sequence[NotebookNode] = (),
        tags: Sequence[str] = (),
        hidden: bool = False,
    ) -> None:
        if self._state_lost:
            self._state_lost = False
            self.begins_anew = True
            anew = "_begin_anew()  # here a new sandbox began, without the variables of the old one"
            known: dict[str, Json] = {"role": "anew", "run": self.run.id, "seq": seq}
            self.body.append(cells.code(self._key("anew", seq), anew, known))
        known = {"role": role, "run": self.run.id, "seq": seq, **facts}
        key = self._key(role, seq)
        self.body.append(cells.code(key, source, known, outputs=outputs, tags=tags, hidden=hidden))

    def _key(self, role: str, seq: int) -> str:
        """Unique in the notebook, whatever a record says: an id that stands twice makes it invalid."""
        key = f"{self.run.id}:{seq}:{role}"
        self._keys[key] = count = self._keys.get(key, 0) + 1
        return key if count == 1 else f"{key}:{count}"


def _seq(step: Step) -> int:
    """Number of the first event of the step: with the role it makes the cell's id."""
    known = (step.reply, step.proposed, step.decided, *step.calls, step.finished)
    return next((event.seq for event in known if event), step.number)
