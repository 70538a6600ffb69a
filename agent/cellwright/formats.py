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
from .fences import without_reasoning
from .models.base import Message, Model
from .observations import NO_CODE, functions
from .outputs import Json
from .prompt_templates import PromptTemplates
from .replies import FenceScanner, Reply, is_bare_python

if TYPE_CHECKING:
    from .asking import StreamedReply
    from .tools import Tool


_JSON_MARKS = re.compile(r'\\.|["{}]', re.DOTALL)


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

    def read(self, asked: StreamedReply) -> Reply:
        reply = asked.scanner.read()
        return reply if reply.code else code_in_json(asked.scanner.text) or reply


class WholeReply(FenceScanner):
    """Takes the text to its end: nothing in it ends the reply early."""

    def feed(self, piece: str) -> bool:
        text, self.text = self.text, ""  # the only reference: so the next line appends, instead of copying all
        text += piece
        self.text = text
        return False

    def read(self) -> Reply:
        return Reply(without_reasoning(self.text).strip(), None, len(self.text))


class JsonScanner(WholeReply):
    """Reads a reply that is one JSON object; complete when the object is."""

    def __init__(self) -> None:
        super().__init__()
        self._begin = self._depth = 0
        self._is_quoted = False

    def feed(self, piece: str) -> bool:
        super().feed(piece)
        for mark in _JSON_MARKS.finditer(self.text, self._seen):
            self._seen = mark.end()
            if mark[0] == '"':
                self._is_quoted = self._depth > 0 and not self._is_quoted
            elif mark[0] in "{}" and not self._is_quoted:
                self._brace(mark[0], mark.start())
            if self.is_complete:
                return True
        self._seen = max(self._seen, len(self.text) - self.text.endswith("\\"))  # what it escapes has not come
        return False

    def _brace(self, mark: str, at: int) -> None:
        if mark == "{":
            self._begin = self._begin if self._depth else at
            self._depth += 1
        elif self._depth:
            self._depth -= 1
            is_object = not self._depth and first_object(self.text[self._begin : at + 1])
            if is_object and "{" in without_reasoning(self.text[: at + 1]):
                self._end = at + 1

    def read(self) -> Reply:
        text = without_reasoning(self.text)
        found = first_object(text)
        code = found[0].get("code") if found else None
        if not found or not isinstance(code, str) or not code.strip():
            return Reply(text.strip(), None, len(self.text))
        end = len(self.text) - len(text) + found[1]
        return Reply(str(found[0].get("thought", "")), code.strip("\n"), end)


class JsonReply(ReplyFormat):
    """One JSON object with `thought` and `code`, held to a schema by providers that can."""

    no_code = (
        "Your reply was not the JSON object that is wanted, so nothing was run. Reply with one, e.g.\n"
        '{"thought": "Compute it and answer.", "code": "final_answer(6 * 7)"}'
    )

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

    no_code = (
        "You called no function, so nothing was run. Call python with the code, e.g.\n"
        '{"name": "python", "arguments": {"code": "final_answer(6 * 7)"}}'
    )

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
        fenced = FenceScanner()  # some models write the block, or the call, although they were asked to call
        fenced.feed(asked.scanner.text)
        reply = fenced.read()
        return reply if reply.code else code_in_json(asked.scanner.text) or reply


class FunctionCalls(ReplyFormat):
    """Native function calls, several at once; as text for models that can't (`calls_functions` is False)."""

    no_code = (
        "You called no function, so nothing was done. Call one, or final_answer when you know the answer, e.g.\n"
        '{"name": "final_answer", "arguments": {"answer": 42}}'
    )

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
        calls = asked.calls or calls_in(asked.scanner.text)
        said = asked.scanner.read()
        thought = "" if calls and not asked.calls else said.thought
        return Reply(thought, as_code(calls) if calls else None, said.end)


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
    rest = without_reasoning(text)
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


def code_in_json(text: str) -> Reply | None:
    """The action of a reply in JSON, as some models are used to although Markdown was asked for; else None."""
    rest = without_reasoning(text)
    found = first_object(rest) if rest.lstrip().startswith(("{", "```", "<tool_call>")) else None
    if found is None:
        return None
    calls = calls_in(rest)
    value = arguments_of(calls[0]) if calls else found[0]
    code = value.get("code")
    # Not each object with a code is one: errors have codes, too.
    if not isinstance(code, str) or value.keys() - {"thought", "code"} or not is_bare_python(code):
        return None
    return Reply(str(value.get("thought", "")), code.strip("\n"), len(text))


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
