"""An agent as a folder: `agent.json`, its tools and its managed agents in folders beneath.

What no folder can hold (checks, guards, tools of an MCP server or of the toolbox) is named, and must be given when the
agent is loaded: an agent never comes back with less than it had. Where code runs is up to who loads it: a sandbox is
not saved, so no folder can weaken one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..agent import CodeAgent
from ..errors import CellwrightError, one_line
from ..formats import FunctionCalls, JsonReply, Markdown, PythonCall
from ..guard import made_up_data
from ..limits import Limits
from ..managed import managed
from ..outputs import Json
from ..prompt_templates import PromptTemplates
from ..tool_calling import ToolCallingAgent
from ..tools import Tool
from .files import (
    AGENT_CARD,
    DEEPEST,
    TOOL_CARD,
    TOOL_CODE,
    AgentCard,
    Files,
    NotTrusted,
    SharingError,
    as_text,
    beneath,
    card_of,
    put_into,
    read_folder,
    write_folder,
)
from .tools import tool_files, tool_from

_KINDS: Mapping[str, type[CodeAgent]] = {kind.__name__: kind for kind in (CodeAgent, ToolCallingAgent)}
_FORMATS = {form.__name__: form for form in (Markdown, JsonReply, PythonCall, FunctionCalls)}


def save_agent(agent: CodeAgent, folder: str | Path) -> Path:
    """Write an agent, with its tools and managed agents, to a folder; the folder. Raises `SharingError`."""
    return write_folder(folder, agent_files(agent))


def load_agent(
    folder: str | Path,
    *,
    trust: bool = False,
    model: Any = None,
    tools: Iterable[Tool | Callable[..., Any]] = (),
    **options: Any,
) -> CodeAgent:
    """The agent that a folder holds; it was never run, and has a new sandbox.

    model: instead of the one that was saved. tools: besides those of the folder. options: as for `CodeAgent`; they win.
    Raises `NotTrusted` without `trust`, which says what would run; `SharingError`, also for what must be given.
    """
    return agent_from(read_folder(folder), str(folder), trust=trust, model=model, tools=tools, **options)


def agent_files(agent: CodeAgent, depth: int = 0) -> dict[str, str]:
    """The files of an agent. Raises `SharingError`."""
    if depth > DEEPEST:
        raise SharingError(f"Agents are nested more than {DEEPEST} deep.")
    if _KINDS.get(type(agent).__name__) is not type(agent):
        raise SharingError(f"A {type(agent).__name__} can't be saved: only {' and '.join(_KINDS)}.")
    tools, agents, needs = _sorted_tools(agent)
    files: dict[str, str] = {}
    for name, tool in tools.items():
        files |= put_into(f"tools/{name}", tool_files(tool))
    for name, inner in agents.items():
        files |= put_into(f"agents/{name}", agent_files(inner, depth + 1))
    options = _options(agent, needs)
    card = AgentCard(
        format="cellwright-agent",
        kind=type(agent).__name__,
        name=agent.name,
        description=agent.description,
        model=_model_name(agent),
        instructions=agent.instructions,
        limits=asdict(agent.limits),
        options=options,
        tools=tuple(tools),
        agents=tuple(agents),
        needs=needs,
    )
    return {**files, AGENT_CARD: as_text(card)}


def agent_from(
    files: Files,
    where: str,
    *,
    trust: bool,
    model: Any = None,
    tools: Iterable[Tool | Callable[..., Any]] = (),
    **options: Any,
) -> CodeAgent:
    """The agent of these files. Raises `NotTrusted`, `SharingError`."""
    card = card_of(AgentCard, files, AGENT_CARD, where)
    if not trust:
        raise NotTrusted(files, where)
    tools = list(tools)
    _check_given(card, where, tools, options)
    if card.kind not in _KINDS:
        raise SharingError(f"{where} is of kind {one_line(card.kind, 60)!r}; known are {', '.join(_KINDS)}.")
    for folder in (*card.tools, *card.agents):
        if not folder.isidentifier():
            raise SharingError(f"{where}/{AGENT_CARD} names {one_line(repr(folder), 60)}, which is no name.")
    own = [tool_from(beneath(files, f"tools/{name}"), f"{where}/tools/{name}", trust=trust) for name in card.tools]
    agents = [
        agent_from(beneath(files, f"agents/{name}"), f"{where}/agents/{name}", trust=trust, model=model)
        for name in card.agents
    ]
    try:
        given: dict[str, Any] = {
            "limits": Limits(**card.limits),  # type: ignore[arg-type] # refused in the next lines when they are none
            "instructions": card.instructions,
            "name": card.name,
            "description": card.description,
            **_restored(card.options),
            **options,
        }
        given["managed_agents"] = [*agents, *options.get("managed_agents", ())]
        chosen = card.model if model is None else model
        return _KINDS[card.kind](chosen, tools=[*own, *tools], **given)
    except (TypeError, ValueError, KeyError) as error:
        raise SharingError(f"{where}/{AGENT_CARD} is damaged: {one_line(str(error), 160)}") from None
    except SharingError:
        raise
    except CellwrightError as error:
        raise SharingError(f"{where}: {error}") from None


def loaded(files: Files, where: str, *, trust: bool, **options: Any) -> Tool | CodeAgent:
    """The tool or the agent of these files, whichever they are."""
    if AGENT_CARD in files:
        return agent_from(files, where, trust=trust, **options)
    if options:
        raise SharingError(f"{where} is a tool; {', '.join(options)} are options of agents.")
    if TOOL_CARD not in files and TOOL_CODE not in files:
        raise SharingError(f"{where} holds no saved tool or agent.")
    return tool_from(files, where, trust=trust)


# ---- what an agent holds --------------------------------------------------------------------------------------------


def _sorted_tools(agent: CodeAgent) -> tuple[dict[str, Tool], dict[str, CodeAgent], dict[str, tuple[str, ...]]]:
    """Tools that can be saved, managed agents, and the tools that must be given when it is loaded."""
    tools: dict[str, Tool] = {}
    agents: dict[str, CodeAgent] = {}
    others: list[str] = []
    for name, tool in agent.tools.items():
        if inner := _managed_by(tool):
            agents[name] = inner
        elif (tool.function if type(tool) is Tool else type(tool)).__module__.startswith("cellwright."):
            others.append(name)  # of the toolbox, an MCP server or an adapter: made anew where it is used
        else:
            tools[name] = tool
    return tools, agents, {"tools": tuple(others)} if others else {}


def _managed_by(tool: Tool) -> CodeAgent | None:
    """The agent that is called by this tool; None for a tool of another kind."""
    if getattr(tool.function, "__qualname__", "") != f"{managed.__name__}.<locals>.call":
        return None
    found = inspect.getclosurevars(tool.function).nonlocals.get("agent")
    return found if isinstance(found, CodeAgent) else None


def _options(agent: CodeAgent, needs: dict[str, tuple[str, ...]]) -> dict[str, Json]:
    """The options that are plain data; those that are not are added to `needs`."""
    options: dict[str, Json] = {}
    form = type(agent.reply_format)
    if _FORMATS.get(form.__name__) is form:
        options["reply_format"] = form.__name__
    else:
        needs["reply_format"] = (form.__name__,)
    for prepare in agent.before_step:
        if prepare.__qualname__.startswith("plan_every."):
            options["planning_interval"] = inspect.getclosurevars(prepare).nonlocals["interval"]
    if agent.prompt_templates != PromptTemplates():
        options["prompt_templates"] = asdict(agent.prompt_templates)
    others = []
    for guard in agent.guards:
        if getattr(guard, "__qualname__", "").startswith("imports_policy."):
            options["authorized_imports"] = list(inspect.getclosurevars(guard).nonlocals["allowed"])
        elif guard is not made_up_data:
            others.append(_name_of(guard))
    if others:
        needs["guards"] = tuple(others)
    if agent.final_answer_checks:
        needs["final_answer_checks"] = tuple(map(_name_of, agent.final_answer_checks))
    return options


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _model_name(agent: CodeAgent) -> str | None:
    """The name under which anybody can have the model; None where it is an object of another kind."""
    if agent.model is None or isinstance(agent.model, str):
        return agent.model
    from ..models.embedded import EmbeddedModel
    from ..models.providers import LiteLLMModel

    return agent.model.name if isinstance(agent.model, LiteLLMModel | EmbeddedModel) else None


def _restored(options: Mapping[str, Json]) -> dict[str, Any]:
    known = {"reply_format", "planning_interval", "prompt_templates", "authorized_imports"}
    if unknown := set(options) - known:
        raise ValueError(f"unknown option {one_line(sorted(unknown)[0], 60)!r}")
    restored: dict[str, Any] = dict(options)
    if "reply_format" in restored:
        restored["reply_format"] = _FORMATS[restored["reply_format"]]()
    return restored


def _check_given(card: AgentCard, where: str, tools: list[Any], options: Mapping[str, Any]) -> None:
    """Raise `SharingError` where something is not given that the folder could not hold."""
    names = {getattr(tool, "name", getattr(tool, "__name__", "")) for tool in tools}
    for option, held in card.needs.items():
        missing = [name for name in held if name not in names] if option == "tools" else held
        if missing and (option == "tools" or option not in options):
            what = one_line(", ".join(missing), 160)
            raise SharingError(f"{where} needs {what}, which no folder holds: give {option}=[...] when you load it.")
