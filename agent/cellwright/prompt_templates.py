'''The texts that an agent is told, for a person who wants to word them: checked when they are given, not when used.

    from cellwright.prompt_templates import PromptTemplates
    CodeAgent(prompt_templates=PromptTemplates(system="""You are a careful analyst. ...

    {{tools}}

    {{instructions}}"""))

A placeholder is a name in double braces. Single braces are left alone, because prompts are full of them: JSON, dicts,
f-strings. A value that is put in is never searched for placeholders. `instructions` of the agent is the shorter way
for who only wants to add something.
'''

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial

from . import prompts
from .errors import UsageError, nearest, one_line

PLACEHOLDERS: Mapping[str, Mapping[str, str]] = {
    "system": {
        "tools": "the functions that there are, with their signatures; nothing where the provider is sent them apart",
        "instructions": "what the person wants in general",
    },
    "plan": {"task": "the task", "remaining_steps": "how many steps are left, or `unlimited`"},
    "revise": {"task": "the task", "remaining_steps": "how many steps are left, or `unlimited`"},
    "best_answer": {"task": "the task"},
}
"""Text -> placeholder -> what is put there."""
REQUIRED: Mapping[str, tuple[str, ...]] = {"system": ("tools", "instructions")}
"""Text -> placeholders that it must have: without them, tools and instructions would be given and never told."""
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_DOUBLE = re.compile(r"\{\{\s*([A-Za-z_][^{}\n]*?)\s*\}\}")
"""What was meant as a placeholder: Jinja's expressions, too."""
_SINGLE = re.compile(r"(?<!\{)\{\s*(\w+)\s*\}(?!\})")


@dataclass(frozen=True, slots=True)
class PromptTemplates:
    """The texts of an agent; what is left out is as it comes along. `PLACEHOLDERS` says what may stand in each.

    Raises `UsageError` for a text that is none, and for placeholders that are unknown, missing or written otherwise.
    """

    system: str | None = None
    """The first message. None: the one that goes with the reply format, `prompts.text("system")` or `("functions")`.

    The form of a reply, where it is not a fenced block, is added after it.
    """
    plan: str = field(default_factory=partial(prompts.text, "plan"))
    """Asks for a plan before the first step, with `planning_interval`."""
    revise: str = field(default_factory=partial(prompts.text, "revise"))
    """Asks to revise the plan."""
    best_answer: str = field(default_factory=partial(prompts.text, "best_answer"))
    """Asks for the best answer when no steps are left."""

    def __post_init__(self) -> None:
        for name in PLACEHOLDERS:
            text = getattr(self, name)
            if not (text is None and name == "system"):
                _check(name, text)

    def system_prompt(self, own: str, tools: str, instructions: str) -> str:
        """The first message; `own` is the name of the text that goes with the reply format."""
        text = prompts.text(own) if self.system is None else self.system
        return filled(text, {"tools": tools, "instructions": instructions})


def as_templates(given: PromptTemplates | Mapping[str, str] | None) -> PromptTemplates:
    """What a person gave as templates; a mapping is read as one would write it. Raises `UsageError`."""
    if isinstance(given, PromptTemplates):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"prompt_templates must be PromptTemplates, not {type(given).__name__}.")
    known = [item.name for item in fields(PromptTemplates)]
    for name in given or {}:
        if name not in known:
            close = nearest(str(name), known)
            raise UsageError(f"prompt_templates has no text {name!r}{close} There are {', '.join(known)}.")
    return PromptTemplates(**(given or {}))


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with values for its placeholders; where a value is empty, the blank lines before it go, too."""
    empty = "|".join(re.escape(name) for name, value in values.items() if not value)
    if empty:
        text = re.sub(rf"\n*\{{\{{\s*({empty})\s*\}}\}}", "", text).lstrip("\n")
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def _check(name: str, text: object) -> None:
    """Raise `UsageError` for a text that can't be used as that template."""
    where, known = f"prompt_templates: {name}", PLACEHOLDERS[name]
    if not isinstance(text, str):
        raise UsageError(f"{where} must be text, not {type(text).__name__}.")
    if not text.strip():
        raise UsageError(f"{where} is empty.")
    there_are = f"There are {', '.join(f'{{{{{one}}}}}' for one in known)}."
    if "{%" in text:
        raise UsageError(f"{where} holds a Jinja statement ({{% ... %}}), which is not run here. {there_are}")
    found = _DOUBLE.findall(text)
    for one in found:
        if one not in known:
            raise UsageError(f"{where} has an unknown placeholder {{{{{one_line(one, 60)}}}}}. {there_are}")
    for one in _SINGLE.findall(text):
        if one in known and one not in found:
            raise UsageError(f"{where}: write {{{{{one}}}}}, not {{{one}}}, to have it filled in.")
    for one in REQUIRED.get(name, ()):
        if one not in found:
            raise UsageError(f"{where} lacks the placeholder {{{{{one}}}}}: {known[one]}.")
