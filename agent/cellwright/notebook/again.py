"""The preamble of the audit notebook: the code that its cells need to run again, with what is on record filled in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from ..events import AnswerGiven, InputGiven, ToolCalled
from ..run import Run
from .functions import Shown


def preamble(
    runs: Sequence[Run],
    calls: Shown,
    typed: Sequence[InputGiven],
    answers: Sequence[AnswerGiven],
    *,
    has_tables: bool,
    begins_anew: bool,
) -> str:
    """The code of the preamble cell. calls, typed: what the notebook's code cells will ask for again.

    answers: those that a host showed, for agents that run no code.
    """
    parts = _parts()
    tools = {
        facts.name: f"{facts.signature}\n\n{facts.description}"
        for run in runs
        if run.started
        for facts in run.started.tools
    }
    tools.update({call.name: "" for call, _ in calls if call.name not in tools})
    wanted = [parts["base"]]
    if tools or typed or answers:
        wanted.append(parts["record"])
    if tools:
        # The later mark first: what is filled in may hold the text of the other.
        filled = parts["tools"].replace("CALLS", _listed(_call(call, shown) for call, shown in calls), 1)
        wanted.append(filled.replace("TOOLS", json.dumps(tools, indent=1, ensure_ascii=False), 1))
    if typed:
        wanted.append(parts["typed"].replace("TYPED", _listed([line.prompt, line.value] for line in typed), 1))
    if answers:
        known = _listed([answer.value, answer.data] for answer in answers)
        wanted.append(parts["answers"].replace("ANSWERS", known, 1))
    if has_tables:
        wanted.append(parts["tables"])
    if begins_anew:
        wanted.append(parts["anew"])
    return "\n\n\n".join(wanted)


def _listed(items: Iterable[object]) -> str:
    """A JSON list, an item a line, for a raw literal: it holds no three double quotes in a row, and ends with none."""
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    return "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"


def _call(call: ToolCalled, shown: str | None) -> dict[str, object]:
    known = {"name": call.name, "args": call.args, "kwargs": call.kwargs, "result": call.result, "error": call.error}
    return known if shown is None else {**known, "shown": shown}


@cache
def _parts() -> dict[str, str]:
    text = files(__package__).joinpath("preamble.py").read_text(encoding="utf-8")
    parts = {}
    for part in text.split("\n# ==== ")[1:]:
        name, _, source = part.partition("\n")
        parts[name.strip()] = source.strip()
    return parts
