"""What models are sent: own texts (A8), how long the prompt is, marks for providers' caches, a person's images."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cellwright import CodeAgent, ScriptedModel, ToolCallingAgent, tool
from cellwright.adapters.schema_tool import SchemaTool
from cellwright.errors import UsageError
from cellwright.facts import ToolUse
from cellwright.formats import FunctionCalls, JsonReply, Markdown, PythonCall, ReplyFormat
from cellwright.images import Image
from cellwright.models.base import Message, ReplyEnd, Sampling, sha256
from cellwright.models.cache_marks import marked
from cellwright.models.embedded import EmbeddedModel
from cellwright.models.fallback import FallbackModel
from cellwright.models.providers import LiteLLMModel, loaded_litellm
from cellwright.models.sight import must_see
from cellwright.prompt_templates import PLACEHOLDERS, PromptTemplates, filled
from cellwright.sandbox.none import NoSandbox
from cellwright.toolbox import Lent, toolbox_by_name
from fake_provider import ANTHROPIC_USAGE, FakeProvider

CLAUDE = "anthropic/claude-sonnet-4-5"


@tool
def add(a: int, b: int) -> int:
    """Add {{two}} numbers."""
    return a + b


def told(agent: CodeAgent, model: Any = None) -> str:
    """The first message of an agent."""
    return agent.memory_for(model or ScriptedModel("x")).messages[0].content


def agent_of(**options: Any) -> CodeAgent:
    return CodeAgent(ScriptedModel("x"), **{"sandbox": NoSandbox(), "journal": None, "tools": [add], **options})


# ---- A8: own texts ---------------------------------------------------------------------------------------------------

OWN = 'You are {careful}: {"a": {1}}, f"{x!r}", {{"b": 2}}.\n\n{{tools}}\n\nFor all tasks: {{ instructions }}\n\nGo.'


def test_a8_an_own_system_prompt_is_sent_and_other_braces_stay() -> None:
    said = told(agent_of(prompt_templates=PromptTemplates(system=OWN), instructions="Say {{tools}}."))
    assert said.startswith('You are {careful}: {"a": {1}}, f"{x!r}", {{"b": 2}}.\n\nThese functions are there too')
    assert '"""Add {{two}} numbers."""' in said
    assert said.endswith("\n\nFor all tasks: Say {{tools}}.\n\nGo.")


@pytest.mark.parametrize(
    ("form", "beginning", "end"),
    [
        (Markdown(), "You are {careful}", "Go."),
        (JsonReply(), "You are {careful}", '"code": "Python code"}.'),
        (PythonCall(), "You are {careful}", "call the function python with the code."),
        (FunctionCalls(), "You are {careful}", "Go."),
    ],
)
def test_a8_it_works_with_every_reply_format(form: ReplyFormat, beginning: str, end: str) -> None:
    said = told(agent_of(prompt_templates=PromptTemplates(system=OWN), reply_format=form, instructions="Be brief."))
    assert said.startswith(beginning)
    assert said.endswith(end)
    assert "For all tasks: Be brief." in said
    assert ("def add(" in said) == (type(form) is not FunctionCalls)  # the provider is sent functions apart


def test_a8_a_model_that_writes_calls_as_text_is_told_the_functions_in_place() -> None:
    agent = ToolCallingAgent(EmbeddedModel(), tools=[add], journal=None, prompt_templates={"system": OWN})
    said = told(agent, agent.model)
    assert said.index("You are {careful}") < said.index("- add(a: int, b: int)") < said.index("For all tasks")


def test_a8_what_is_empty_leaves_no_gap_and_the_texts_that_come_along_are_filled_in() -> None:
    templates = PromptTemplates(system="{{tools}}\n\nFirst.\n\n{{tools}}\n\n{{instructions}}\n\nLast.")
    assert told(agent_of(tools=[], prompt_templates=templates)) == "First.\n\nLast."
    assert filled("a {{task}} b", {"task": ""}) == "a  b"
    for form in (Markdown(), FunctionCalls()):
        assert "{{" not in told(agent_of(tools=[], reply_format=form))
    assert told(agent_of(instructions="Be brief.")).endswith('numbers."""\n```\n\nBe brief.')


async def test_a8_plan_revision_and_best_answer_are_asked_for_in_own_words() -> None:
    call = [ToolUse("c", "add", '{"a": 1, "b": 2}')]
    model = ScriptedModel("plan", call, "better plan", call, "It is 3.")
    templates = PromptTemplates(
        plan="Plan {{task}} in {{remaining_steps}}.", revise="{{ remaining_steps }} left.", best_answer="So, {{task}}?"
    )
    options: dict[str, Any] = {"planning_interval": 1, "prompt_templates": templates}
    async with ToolCallingAgent(model, tools=[add], journal=None, **options) as agent:
        run = await agent.run("Add {{task}}", max_steps=2)
        asked = [messages[-1].content for messages in model.asked]
        assert (asked[0], asked[2], asked[4]) == ("Plan Add {{task}} in 2.", "1 left.", "So, Add {{task}}?")
        assert (run.status, run.answer) == ("out_of_steps", "It is 3.")
        assert [len(step.calls) for step in run.steps] == [1, 1, 0]  # a plan takes no step away
    lifted = ScriptedModel("plan", [ToolUse("c", "final_answer", '{"answer": 3}')])
    async with ToolCallingAgent(lifted, journal=None, **options) as agent:
        agent.limits = type(agent.limits)(steps=None)
        await agent.run("Add")
    assert lifted.asked[0][-1].content == "Plan Add in unlimited."


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            {"system": "{{tools}} only"},
            "system lacks the placeholder {{instructions}}: what the person wants in general.",
        ),
        ({"system": "{{instructions}}"}, "system lacks the placeholder {{tools}}: the functions"),
        (
            {"system": "{{tool}} {{tools}} {{instructions}}"},
            "system has an unknown placeholder {{tool}}. There are {{tools}}, {{instructions}}.",
        ),
        ({"plan": "{{tools}}"}, "plan has an unknown placeholder {{tools}}. There are {{task}}, {{remaining_steps}}."),
        ({"plan": "For {{ task | upper }}"}, "unknown placeholder {{task | upper}}."),
        ({"revise": "{task}"}, "revise: write {{task}}, not {task}, to have it filled in."),
        ({"system": "{% for t in tools %}"}, "system holds a Jinja statement ({% ... %}), which is not run here."),
        ({"best_answer": " \n"}, "best_answer is empty."),
        ({"plan": None}, "plan must be text, not NoneType."),
        ({"system": 7}, "system must be text, not int."),
        ({"best_anwser": "x"}, "no text 'best_anwser'; did you mean 'best_answer'? There are system, plan, revise,"),
        ({"system_prompt": "x"}, "There are system, plan, revise, best_answer."),
        ("You are", "prompt_templates must be PromptTemplates, not str."),
    ],
)
def test_a8_a_wrong_text_is_refused_when_it_is_given(texts: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        agent_of(prompt_templates=texts)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("prompt_templates")


def test_a8_templates_check_themselves_and_can_not_be_changed() -> None:
    with pytest.raises(UsageError, match="unknown placeholder"):
        PromptTemplates(plan="{{no}}")
    templates = PromptTemplates()
    with pytest.raises(AttributeError):
        templates.plan = "{{no}}"  # type: ignore[misc]
    assert PromptTemplates(**{name: getattr(templates, name) for name in PLACEHOLDERS}) == templates


# ---- how long the prompt is ------------------------------------------------------------------------------------------


def find_flights(origin: str, destination: str, day: str, passengers: int = 1, direct: bool = False) -> list[Any]:
    """Find flights between two airports on a day.

    The result is sorted by price. Prices are in euros and hold for all passengers together.

    Args:
        origin: IATA code of the airport to start from.
        destination: IATA code of the airport to land at.
        day: The day of departure, as YYYY-MM-DD.
        passengers: How many people fly.
        direct: Whether to leave out flights with a stop.

    Returns:
        One dictionary for each flight, with the keys number, departure, arrival and price.
    """
    return [origin, destination, day, passengers, direct]


def run_sql(query: str, parameters: list[str] | None = None, timeout: float = 30.0) -> list[dict[str, Any]]:
    """Run a read-only query against the data warehouse and return the rows.

    Args:
        query: The query, with %s where a parameter goes.
        parameters: Values for the placeholders, in their order.
        timeout: Seconds after which the query is given up.
    """
    return [{"query": query, "parameters": parameters, "timeout": timeout}]


def send_email(to: list[str], subject: str, body: str, attachments: list[str] | None = None) -> str:
    """Send an e-mail in the name of the user.

    Args:
        to: Addresses of the recipients.
        subject: The subject line.
        body: The text of the mail; Markdown is turned into HTML.
        attachments: Paths of files to attach.
    """
    return f"{to} {subject} {body} {attachments}"


def of_a_server(name: str, description: str, **properties: Mapping[str, Any]) -> SchemaTool:
    """A tool as MCP servers describe it."""

    async def send(arguments: object, tell: object) -> object:
        return arguments

    required = [name for name, schema in properties.items() if "default" not in schema]
    return SchemaTool(name, description, {"properties": dict(properties), "required": required}, send)


def ten_tools() -> list[Any]:
    """Three of a person, four of the toolbox, three of servers."""
    text = {"type": "string"}
    return [
        find_flights, run_sql, send_email,
        *toolbox_by_name(["web_search", "visit_webpage", "wikipedia_search", "ask_user"], Lent()),
        of_a_server(
            "convert_time", "Convert time between timezones",
            source_timezone={**text, "description": "Source IANA timezone name (e.g., 'America/New_York')."},
            time={**text, "description": "Time to convert in 24-hour format (HH:MM)"},
            target_timezone={**text, "description": "Target IANA timezone name (e.g., 'Asia/Tokyo')."},
        ),
        of_a_server(
            "git_log", "Shows the commit logs", repo_path=text, max_count={"type": "integer", "default": 10},
            start_timestamp={**text, "default": None, "description": "Start timestamp for filtering commits. Accepts: "
                             "ISO 8601 format (e.g., '2024-01-15T14:30:25') or relative dates (e.g., '2 weeks ago')"},
        ),
        of_a_server(
            "edit_file", "Make line-based edits to a text file. Each edit replaces exact lines with new content.",
            path=text, edits={"type": "array", "items": {"type": "object"}},
            dryRun={"type": "boolean", "default": False},
        ),
    ]  # fmt: skip


def test_the_prompt_of_a_code_agent_is_short() -> None:
    model, sizes = LiteLLMModel(CLAUDE), []
    for tools in ([], ten_tools()):
        messages = agent_of(tools=tools).memory_for(model).messages
        sizes.append(sum(len(message.content) for message in messages))
        assert messages[0].content.count("\ndef ") == len(tools)
    print("characters without tools, with ten:", sizes)
    assert sizes[0] <= 2400
    assert sizes[1] <= 5000


# ---- marks for providers' caches -------------------------------------------------------------------------------------

EPHEMERAL = {"type": "ephemeral"}
PICTURE = Image("image/png", "aGk=")
TALK = [
    Message("system", "How to answer."),
    Message("user", "Task: look.", images=(PICTURE,)),
    Message("assistant", "", calls=(ToolUse("c1", "f", "{}"), ToolUse("c2", "f", "{}"))),
    Message("tool", "one", call_id="c1"),
    Message("tool", "two", call_id="c2"),
]


def blocks(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All blocks of a request in Anthropic's protocol, in order."""
    yield from body["system"]
    for message in body["messages"]:
        yield from message["content"]


async def asked(name: str, messages: list[Message]) -> tuple[dict[str, Any], ReplyEnd]:
    """The body that a provider gets, and how the reply ends."""
    async with FakeProvider() as provider:
        base = provider.anthropic_url if name.startswith("anthropic/") else provider.base_url
        parts = [part async for part in LiteLLMModel(name, api_base=base, api_key="k").stream(messages, Sampling())]
    assert isinstance(parts[-1], ReplyEnd)
    return provider.requests[0], parts[-1]


async def test_claude_gets_marks_at_head_last_end_and_end() -> None:
    body, _ = await asked(CLAUDE, TALK)
    marks = ["cache_control" in block for block in blocks(body)]
    kinds = [block["type"] for block in blocks(body)]
    assert kinds == ["text", "text", "image", "tool_use", "tool_use", "tool_result", "tool_result"]
    assert marks == [True, False, True, False, False, False, True]
    assert body["system"][0] == {"type": "text", "text": "How to answer.", "cache_control": EPHEMERAL}


async def test_claude_elsewhere_gets_them_too() -> None:
    body, _ = await asked("openrouter/anthropic/claude-sonnet-4.5", TALK)
    system, user, assistant, first, last = body["messages"]
    assert system["content"] == [{"type": "text", "text": "How to answer.", "cache_control": EPHEMERAL}]
    assert [part.get("cache_control") for part in user["content"]] == [None, EPHEMERAL]
    assert "cache_control" not in json.dumps([assistant, first])
    assert last["content"] == [{"type": "text", "text": "two", "cache_control": EPHEMERAL}]


@pytest.mark.parametrize(
    "name",
    ["openai/gpt-5", "openai/claude", "openrouter/qwen/qwen3-coder", "anthropic/claude-2.1", "deepseek/deepseek-chat"],
)
async def test_others_get_plain_text(name: str) -> None:
    body, _ = await asked(name, [TALK[0], Message("user", "Task: add.")])
    assert "cache_control" not in json.dumps(body)
    if not name.startswith("anthropic/"):
        assert [message["content"] for message in body["messages"]] == ["How to answer.", "Task: add."]


def test_never_more_than_three_marks_and_none_on_nothing() -> None:
    talk: list[dict[str, Any]] = [{"role": "system", "content": "a"}]
    for _ in range(30):
        talk += [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]
        before = copy.deepcopy(talk)
        assert json.dumps(marked(talk)).count("ephemeral") <= 3
        assert talk == before
    empty: list[dict[str, Any]] = [{"role": "system", "content": ""}, {"role": "assistant", "content": None}]
    assert marked(empty) == empty
    assert marked([]) == []


def without_marks(body: Mapping[str, Any]) -> list[str]:
    """The blocks of a request as text, one each, as a provider compares them."""
    return [json.dumps({k: v for k, v in block.items() if k != "cache_control"}) for block in blocks(body)]


def three_steps(request: dict[str, Any]) -> str:
    said = sum(message["role"] == "assistant" for message in request["messages"])
    return f"Go.\n```python\n{'final_answer(x)' if said == 2 else f'x = {said}; print(x)'}\n```"


async def test_with_marks_the_prefix_stays_the_hash_is_of_the_messages_and_cached_tokens_are_priced() -> None:
    async with FakeProvider(reply=three_steps) as provider:
        model = LiteLLMModel(CLAUDE, api_base=provider.anthropic_url, api_key="k")
        async with CodeAgent(model, journal=None) as agent:
            run = await agent.run("Count.")
            messages = agent.memory_for(model).messages
    assert run.answer == 1
    sent = [without_marks(body) for body in provider.requests]
    for earlier, later in pairwise(sent):
        assert later[: len(earlier)] == earlier
    for before, after in pairwise(provider.requests):
        # The end of the last request is marked again: there the provider finds what it has kept.
        marks = ["cache_control" in block for block in blocks(after)]
        assert (marks[0], marks[len(list(blocks(before))) - 1], marks[-1], sum(marks)) == (True, True, True, 3)
    hashes = [step.reply.prompt_sha256 for step in run.steps if step.reply]
    assert hashes == [sha256(messages[: 2 + 2 * step]) for step in range(3)]
    assert run.totals.usage.cached == 3 * ANTHROPIC_USAGE["cache_read_input_tokens"]
    assert run.totals.usage.prompt == 3 * (10 + 200 + 3000)
    facts = (await loaded_litellm()).model_cost["claude-sonnet-4-5"]
    price = (
        10 * facts["input_cost_per_token"]
        + 200 * facts["cache_creation_input_token_cost"]
        + 3000 * facts["cache_read_input_token_cost"]
        + 40 * facts["output_cost_per_token"]
    )
    assert run.totals.cost_known
    assert run.totals.cost == pytest.approx(3 * price)


# ---- a person's images -----------------------------------------------------------------------------------------------


async def test_an_image_for_a_model_that_cannot_see_is_refused() -> None:
    await must_see(LiteLLMModel("openai/gpt-4o"))
    await must_see(LiteLLMModel("openai/x", sees=True))
    await must_see(ScriptedModel("x"))
    seeing = LiteLLMModel("openai/gpt-4o")
    for blind in (EmbeddedModel(), LiteLLMModel("openai/x"), LiteLLMModel("openai/gpt-4o", sees=False)):
        for model in (blind, FallbackModel(seeing, blind)):
            with pytest.raises(UsageError) as caught:
                await must_see(model)
            assert str(caught.value).startswith(f"{blind.name} can't see images")
            assert "\n" not in str(caught.value)


def png() -> bytes:
    """One white pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = chunk(b"IHDR", bytes([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\xff")) + chunk(b"IEND", b"")


async def cellwright_run(folder: Path, provider: FakeProvider, *words: str) -> tuple[int, str]:
    """`cellwright run` in `folder`: its status, and what it says on stderr."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("cellwright")), "run", *words,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, "CELLWRIGHT_JOURNAL": "off", "OPENAI_API_KEY": "k", "OPENAI_API_BASE": provider.base_url,
             "OPENAI_BASE_URL": provider.base_url},
    )  # fmt: skip
    _, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, complaint.decode()


async def test_images_of_the_command_line_reach_the_model(tmp_path: Path) -> None:
    for name in ("a.png", "b c.png"):
        (tmp_path / name).write_bytes(png())
    async with FakeProvider() as provider:
        images = ("--image", "a.png", "-i", "b c.png")
        status, _ = await cellwright_run(tmp_path, provider, "What?", "--model", "openai/gpt-4o", *images)
    assert status == 0
    text, *pictures = provider.requests[0]["messages"][1]["content"]
    assert text["text"].startswith("Task: What?")
    assert [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in pictures] == [png()] * 2


@pytest.mark.parametrize(
    ("model", "image", "said"),
    [
        ("openai/gpt-4o", "missing.png", "There is no file missing.png."),
        ("openai/gpt-4o", "text.png", "text.png is no image that can be read"),
        ("openai/gpt-3.5-turbo", "a.png", "openai/gpt-3.5-turbo can't see images, as far as is known. Choose a model"),
    ],
)
async def test_a_wrong_image_is_one_line_and_nothing_is_sent(tmp_path: Path, model: str, image: str, said: str) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "text.png").write_text("no picture")
    async with FakeProvider() as provider:
        status, complaint = await cellwright_run(tmp_path, provider, "What?", "--model", model, "--image", image)
    assert status == 2
    assert complaint.startswith(f"Error: {said}")
    assert complaint.count("\n") == 1
    assert provider.requests == []
