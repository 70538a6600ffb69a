"""An agent is put back to where some runs left it: a fresh sandbox with their variables, a memory that ends there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UsageError
from .lineage import Part, remembered
from .outputs import Json
from .rebuild import Rebuilt, rebuild
from .run import Run, Step

if TYPE_CHECKING:
    from .agent import CodeAgent
    from .journal import Journal


async def put_back(agent: CodeAgent, parts: Sequence[Part]) -> Rebuilt:
    """Sandbox and memory as `parts` left them; both stay as they are where the new sandbox can't be had."""
    fresh = agent.sandbox.another()
    try:
        facts = await fresh.start()
        done = await rebuild(fresh, parts, Path.cwd())
    except BaseException:  # cancelled, too: the new sandbox must not stay behind; it is raised again
        await fresh.close()
        raise
    old, agent.sandbox = agent.sandbox, fresh
    agent.memory, _ = remembered(parts)
    await old.close()
    results = getattr(agent, "results", None)
    if isinstance(results, dict):  # of a tool-calling agent: they are its variables
        results.clear()
        for part in parts:
            for step in part.steps:
                results.update(_results(part.run, step))
    agent.instance = facts.instance
    return done


def _results(run: Run, step: Step) -> dict[str, Json]:
    """What its calls returned, by the names under which later ones may use them: calls end in any order."""
    from .notebook.functions import texts_of

    returned = ((text.partition(" = ")[0], call) for call, text in texts_of(run, step))
    return {name: call.result for name, call in returned if name and call.error is None}


def last_number(run: Run) -> int:
    """Number of the last step that was begun; 0 for none."""
    return max((step.number for step in run.steps if step.reply or step.decided), default=0)


async def conversation_of(agent: CodeAgent) -> list[Run]:
    """The runs of the agent's conversation, oldest first. Raises `UsageError` without a journal."""
    return await journal_of(agent).conversation(agent.conversation)


def journal_of(agent: CodeAgent) -> Journal:
    """The agent's journal. Raises `UsageError` where it keeps none."""
    journal = agent.open_journal()
    if journal is None:
        raise UsageError("This agent keeps no journal, so there is nothing to go back to.")
    return journal
