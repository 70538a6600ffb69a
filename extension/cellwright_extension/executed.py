"""The code that a run executed, in the metadata of what its cell shows.

What a cell shows of a run is for people; its code is HTML there. `nbconvert --to script` wants the code itself, and a
notebook may be far from the journal in which the run is on record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cellwright.outputs import Json
from cellwright.run import Run

KEY = "cellwright"
"""In the metadata of an output (nbformat 4.5, "Output types")."""


@dataclass(frozen=True, slots=True)
class Executed:
    """One action."""

    code: str
    is_ok: bool
    """False where it raised, was stopped, or ended the sandbox."""


def executed(run: Run) -> dict[str, Json]:
    """Metadata for an output that shows `run`: its id and the code that ran, in order."""
    ran = [step for step in run.steps if step.code and step.decided and step.decided.verdict != "denied"]
    steps = [{"code": step.code, "ok": step.outcome == "ok"} for step in ran]
    return {KEY: {"run": run.id, "steps": steps}}


def executed_in(cell: Mapping[str, Json]) -> list[Executed] | None:
    """What ran in a cell of a notebook; None where it is not said, e.g. because the output was cleared."""
    told = {key: steps for output in cell.get("outputs", ()) for key, steps in _told(output)}
    return [step for steps in told.values() for step in steps] if told else None


def _told(output: Mapping[str, Json]) -> Iterator[tuple[str, list[Executed]]]:
    # Whoever wrote the notebook wrote this, too: what is not in the form above is not taken.
    found = output.get("metadata", {}).get(KEY)
    if isinstance(found, Mapping) and isinstance(found.get("steps"), list):
        steps = [step for step in found["steps"] if isinstance(step, Mapping) and isinstance(step.get("code"), str)]
        yield str(found.get("run")), [Executed(step["code"], step.get("ok") is True) for step in steps]
