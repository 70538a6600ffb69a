"""Reply formats: how a model writes its actions, and how they are read.

Markdown with a fenced Python block is the default: it is what models write best. Where a model prefers it, code comes
as the argument of a `python` function call, or in a JSON object that the provider holds to a schema (smolagents'
`use_structured_outputs_internally`). The tool-calling agent takes native function calls, and calls written as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from . import prompts
from .facts import ToolFacts, ToolUse
from .models.base import Message, Model
from .observations import NO_CODE, functions
from .outputs import Json
from .prompt_templates import PromptTemplates
from .replies import FenceScanner, Reply

if TYPE_CHECKING:
    from .asking import StreamedReply
    from .tools import Tool


class ReplyFormat:
    """Markdown; base of the others."""

    no_code: ClassVar[str] = NO_CODE
    """What the model is told when its reply held no action."""

    def scanner(self) -> FenceScanner:
        """What reads the text as it streams in, and says when the first action is complete."""
        return FenceScanner()

    def parameters(self, model: Model, tools: Mapping[str, Tool]) -> Mapping[str, Json]:
        """What the request holds besides, e.g. functions that may be called."""
        return {}

    def head(
        self, model: Model, tools: Sequence[ToolFacts], instructions: str, templates: PromptTemplates | None = None
    ) -> list[Message]:
        """The messages before the first task: system prompt, and examples for models that need them."""
        return [Message("system", _system(tools, instructions, templates)), *model.examples]

    def read(self, asked: StreamedReply) -> Reply:
        """The thought and the code of a reply that is over."""
        return asked.scanner.read()


class Markdown(ReplyFormat):
    """A thought in prose, the action as a fenced Python block."""


class WholeReply(FenceScanner):
    """Takes the text to its end: nothing in it ends the reply early."""

    def feed(self, piece: str) -> bool:
        self.text += piece
        return False

    def read(self) -> Reply:
        return Reply(self.text.strip(), None, len(self.text))


class JsonScanner(WholeReply):
    """Reads a reply that is one JSON object; complete when the object is."""

    def feed(self, piece: str) -> bool:
        self.text += piece
        self.is_complete = "}" in piece and first_object(self.text) is not None
        return self.is_complete

    def read(self) -> Reply:
        found = first_object(self.text)
        code = found[0].get("code") if found else None
        if not found or not isinstance(code, str) or not code.strip():
            return Reply(self.text.strip(), None, len(self.text))
        return Reply(str(found[0].get("thought", "")), code.strip("\n"), found[1])


class JsonReply(ReplyFormat):
    """One JSON object with `thought` and `code`, held to a schema by providers that can."""

    no_code = 'Your reply was not the JSON object that is wanted: {"thought": ..., "code": ...}. So nothing was run.'

    def scanner(self) -> FenceScanner:
        return JsonScanner()

    def parameters(self, model: Model, tools: Mapping[str, Tool]) -> Mapping[str, Json]:
        text = {"type": "string"}
        schema = {
            "type": "object",
            "properties": {"thought": text, "code": text},
            "required": ["thought", "code"],
            "additionalProperties": False,
        }
        named = {"name": "action", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def head(
        self, model: Model, tools: Sequence[ToolFacts], instructions: str, templates: PromptTemplates | None = None
    ) -> list[Message]:
        form = 'Reply with one JSON object and nothing else: {"thought": "...", "code": "Python code"}.'
        return [Message("system", f"{_system(tools, instructions, templates)}\n\n{form}")]


class PythonCall(ReplyFormat):
    """Code as the argument of a function call `python(code)`."""

    no_code = "You called no function, so nothing was run. Call python(code)."

    def scanner(self) -> FenceScanner:
        return WholeReply()

    def parameters(self, model: Model, tools: Mapping[str, Tool]) -> Mapping[str, Json]:
        properties = {"code": {"type": "string", "description": "Python code; it is run in the notebook."}}
        parameters = {"type": "object", "properties": properties, "required": ["code"]}
        return {"tools": [as_function("python", "Run Python code.", parameters)], "parallel_tool_calls": False}

    def head(
        self, model: Model, tools: Sequence[ToolFacts], instructions: str, templates: PromptTemplates | None = None
    ) -> list[Message]:
        form = "Instead of writing a code block, call the function python with the code."
        return [Message("system", f"{_system(tools, instructions, templates)}\n\n{form}")]

    def read(self, asked: StreamedReply) -> Reply:
        for call in asked.calls:
            code = arguments_of(call).get("code")
            if call.name == "python" and isinstance(code, str):
                return Reply(asked.scanner.text.strip(), code, len(asked.scanner.text))
        fenced = FenceScanner()  # some models write the block although they were asked to call
        fenced.feed(asked.scanner.text)
        return fenced.read()


class FunctionCalls(ReplyFormat):
    """Native function calls, several at once; as text for models that can't (`calls_functions` is False)."""

    no_code = "You called no function, so nothing was done. Call one, or final_answer(answer) when you know the answer."

    def scanner(self) -> FenceScanner:
        return WholeReply()

    def parameters(self, model: Model, tools: Mapping[str, Tool]) -> Mapping[str, Json]:
        if not calls_functions(model):
            return dict(getattr(model, "call_parameters", {}))
        facts = [tool.facts for tool in tools.values()]
        return {"tools": [*(as_function(f.name, f.description, f.parameters) for f in facts), _FINAL_ANSWER]}

    def head(
        self, model: Model, tools: Sequence[ToolFacts], instructions: str, templates: PromptTemplates | None = None
    ) -> list[Message]:
        described: list[str] = []
        examples: Sequence[Message] = ()
        if not calls_functions(model):
            examples = getattr(model, "call_examples", ())
            described = [
                prompts.text("functions_as_text"),
                *(f"- {fact.signature}: {fact.description}" for fact in tools),
            ]
            described.append("- final_answer(answer): Give the answer to the task.")
        system = (templates or PromptTemplates()).system_prompt("functions", "\n".join(described), instructions)
        return [Message("system", system), *examples]

    def read(self, asked: StreamedReply) -> Reply:
        text = asked.scanner.text
        calls = asked.calls or calls_in(text)
        thought = "" if calls and not asked.calls else text.strip()
        return Reply(thought, as_code(calls) if calls else None, len(text))


def _system(tools: Sequence[ToolFacts], instructions: str, templates: PromptTemplates | None) -> str:
    return (templates or PromptTemplates()).system_prompt("system", functions(tools), instructions)


def calls_functions(model: Model) -> bool:
    """False for models that must write their calls as text."""
    return bool(getattr(model, "calls_functions", True))


def as_function(name: str, description: str, parameters: Json) -> dict[str, Json]:
    """A function as chat models are offered it (OpenAI, "Function calling")."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_FINAL_ANSWER = as_function(
    "final_answer",
    "Give the answer to the task. Call it alone, as the last call.",
    {"type": "object", "properties": {"answer": {"description": "The answer."}}, "required": ["answer"]},
)


def arguments_of(call: ToolUse) -> dict[str, Json]:
    """The arguments; empty where what was written is no JSON object."""
    try:
        found = json.loads(call.arguments or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def as_code(calls: Sequence[ToolUse]) -> str:
    """The calls as Python, one a line: what the view shows and the audit notebook runs again."""
    lines = []
    for index, call in enumerate(calls, 1):
        kept = "" if call.name == "final_answer" else f"result_{index} = "
        arguments = ", ".join(f"{name}={value!r}" for name, value in arguments_of(call).items())
        lines.append(f"{kept}{call.name}({arguments})")
    return "\n".join(lines)


def calls_in(text: str) -> list[ToolUse]:
    """Calls that a model wrote as text: JSON objects with a name and arguments, in the forms that models use."""
    calls: list[ToolUse] = []
    rest = text
    while found := first_object(rest):
        value, end = found
        rest = rest[end:]
        function = value.get("function")
        inner: dict[str, Any] = function if isinstance(function, dict) else value
        name = inner.get("name") or inner.get("tool_name") or inner.get("action")
        arguments: Any = {}
        for key in ("arguments", "parameters", "args", "action_input"):
            arguments = inner.get(key, arguments)
        if isinstance(name, str) and name.isidentifier():
            arguments = arguments if isinstance(arguments, dict) else {"answer": arguments}
            calls.append(ToolUse("", name, json.dumps(arguments)))
    return calls


def first_object(text: str) -> tuple[dict[str, Any], int] | None:
    """The first JSON object in `text`, and where it ends; None where there is none that is whole."""
    for start in re.finditer(r"\{", text):
        try:
            value, end = json.JSONDecoder().raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value, end
    return None
