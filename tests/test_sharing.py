"""Row B5: tools and agents as folders, and on a Hub: nothing is run before somebody trusts it, no secret is written."""

from __future__ import annotations

import contextlib
import io
import json as js
import math
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from cellwright import CodeAgent, Limits, ScriptedModel, Secret, Tool, ToolCallingAgent, tool
from cellwright.cli_share import share
from cellwright.errors import CellwrightError
from cellwright.formats import JsonReply
from cellwright.prompt_templates import PromptTemplates
from cellwright.run import Run
from cellwright.sandbox.none import NoSandbox
from cellwright.sharing import (
    NotTrusted,
    SharingError,
    load_agent,
    load_tool,
    pull,
    push,
    save_agent,
    save_tool,
)
from cellwright.sharing.files import is_wanted
from cellwright.toolbox import VisitWebpageTool
from hub_server import HubServer

FACTOR = 3


@tool(seconds=5)
def convert(amount: Annotated[float, Field(gt=0)], to: Literal["EUR", "NOK"] = "EUR") -> float:
    """Convert US dollars.

    amount: US dollars.
    to: The currency wanted.
    """
    return math.floor(amount * {"EUR": 0.5, "NOK": 10.0}[to]) + len(js.dumps(""))


@tool
async def slow(n: int) -> int:
    """Wait a little."""
    import asyncio

    await asyncio.sleep(0)
    return n


@tool
def leaning(n: int) -> int:
    """Use what stands around it."""
    return helper(n) * FACTOR


def helper(n: int) -> int:
    return n


class Multiply(Tool):
    name = "multiply"
    description = "Multiply a number."

    def __init__(self, by: int = 2) -> None:
        super().__init__()
        self.by = by

    def forward(self, number: int) -> int:
        return number * self.by


class Needy(Tool):
    """Needs an argument."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def forward(self, number: int) -> int:
        return number * self.by


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


# ---- tools ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "args", "result"), [(convert, [3, "NOK"], 32), (slow, [4], 4), (Multiply(), [21], 42)]
)
async def test_b5_a_tool_is_saved_and_loaded(tmp_path: Path, saved: Tool, args: list[Any], result: Any) -> None:
    folder = save_tool(saved, tmp_path / "one")
    loaded = load_tool(folder, trust=True)
    assert (loaded.facts, loaded.seconds) == (saved.facts, saved.seconds)
    assert await loaded(*args) == result
    assert sorted(path.name for path in folder.iterdir()) == ["tool.json", "tool.py"]
    again = save_tool(loaded, tmp_path / "two")
    assert (again / "tool.py").read_text() == (folder / "tool.py").read_text(), "it can be saved again"
    card = js.loads((folder / "tool.json").read_text())
    assert (card["name"], card["signature"]) == (saved.name, saved.facts.signature)


def test_b5_a_saved_tool_works_in_another_process(tmp_path: Path) -> None:
    save_tool(convert, tmp_path / "tool")
    code = (
        "import asyncio, sys; from cellwright.sharing import load_tool\n"
        "print(asyncio.run(load_tool(sys.argv[1], trust=True)(3, 'NOK')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "tool"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "32"


def test_b5_what_would_be_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SharingError) as caught:
        save_tool(leaning, tmp_path / "tool")
    assert "Tool leaning uses FACTOR, helper of its module" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tool").exists()


def _a_variable_around() -> Tool:
    number = 3

    @tool
    def inner() -> int:
        """Use it."""
        return number

    return inner


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (_a_variable_around, "uses number of its module"),
        (lambda: Needy(3), "is made with arguments (by), which no folder holds"),
        (lambda: Multiply(5), "has by = 5, which a new one has not"),
        (lambda: Tool(lambda: 1, name="short", description="One."), "write a function with def"),
        (lambda: Tool(Multiply().forward, name="method", description="No."), "has no source of its own"),
    ],
)
def test_b5_what_a_folder_cannot_hold_is_refused(tmp_path: Path, made: Callable[[], Tool], said: str) -> None:
    with pytest.raises(SharingError) as caught:
        save_tool(made(), tmp_path / "tool")
    assert said in str(caught.value)


def test_b5_nothing_runs_without_trust_and_what_would_is_shown(tmp_path: Path) -> None:
    folder = save_tool(convert, tmp_path / "tool")
    ran = tmp_path / "ran"
    text = (folder / "tool.py").read_text()
    (folder / "tool.py").write_text(text.replace("import math", f"open({str(ran)!r}, 'w').close()\nimport math"))
    with pytest.raises(NotTrusted) as caught:
        load_tool(folder)
    assert not ran.exists()
    said = str(caught.value)
    assert "\n" not in said
    assert "tool.py" in said
    assert f"open('{str(ran)[:20]}" in said, "its first line is shown"
    load_tool(folder, trust=True)
    assert ran.exists()


async def test_b5_a_folder_of_smolagents_is_read(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(
        "from typing import Any, Optional\nfrom smolagents.tools import Tool\nimport re\n\n"
        "class Letters(Tool):\n    name = 'count_letters'\n    description = 'Counts letters.'\n"
        "    inputs = {'word': {'type': 'string', 'description': 'The word.'}}\n    output_type = 'integer'\n\n"
        "    def forward(self, word: str):\n        import re\n        return len(re.findall('.', word))\n\n"
        "    def __init__(self, *args, **kwargs):\n        self.is_initialized = False\n"
    )
    (tmp_path / "app.py").write_text("raise SystemExit('never run')")
    (tmp_path / "requirements.txt").write_text("smolagents")
    with pytest.raises(NotTrusted, match="class Letters"):
        load_tool(tmp_path)
    loaded = load_tool(tmp_path, trust=True)
    assert loaded.facts.signature == "count_letters(word: str) -> int"
    assert await loaded("seven") == 5


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(:", "is no Python"),
        ("import no_such_package_at_all", "failed: ModuleNotFoundError"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("x = 1", "must hold one subclass of Tool; it holds 0"),
    ],
)
def test_b5_code_that_fails_is_said_in_one_line(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "tool.py").write_text(code)
    with pytest.raises(SharingError) as caught:
        load_tool(tmp_path, trust=True)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_b5_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SharingError, match="is not empty, and holds no saved tool or agent"):
        save_tool(convert, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(SharingError, match="Can't write"):
        save_tool(convert, tmp_path / "thesis.txt" / "tool")
    save_tool(convert, tmp_path / "tool")
    save_tool(convert, tmp_path / "tool")  # over an earlier save


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    bodies=st.dictionaries(
        st.sampled_from(["tool.json", "tool.py", "agent.json"]),
        st.binary(max_size=200)
        | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
        | st.recursive(
            st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
        ).map(
            lambda value: js.dumps(
                {"format": "cellwright-agent", "kind": "CodeAgent", "version": 1, "tools": value}
            ).encode()
        ),
    )
)
def test_b5_garbage_is_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, bodies: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    for name, body in bodies.items():
        (folder / name).write_bytes(body)
    for load in (load_tool, load_agent):
        try:
            load(folder)
        except CellwrightError as error:
            assert "\n" not in str(error)
        else:
            pytest.fail("nothing may be loaded without trust")


@settings(deadline=None, max_examples=60)
@given(name=st.text(max_size=40) | st.text(alphabet="./\0ab", max_size=12))
def test_b5_names_of_folders_are_any_text(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = str(tmp_path_factory.mktemp("names")) + "/in/" + name.replace("..", "")
    try:
        saved = save_tool(slow, folder)
    except SharingError as error:
        assert "\n" not in str(error)
    else:
        assert load_tool(saved, trust=True).name == "slow"


@given(path=st.text(alphabet="./ab\\tools", max_size=30))
def test_b5_no_path_leads_out_of_the_folder(path: str) -> None:
    if is_wanted(path):
        assert Path(path).parts
        assert ".." not in Path(path).parts
        assert not Path(path).is_absolute()


def test_b5_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = save_tool(slow, tmp_path / "tool")
    (folder / "tool.py").rename(tmp_path / "elsewhere.py")
    (folder / "tool.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(SharingError, match=r"has no tool\.py"):
        load_tool(folder, trust=True)


# ---- agents ---------------------------------------------------------------------------------------------------------


def team() -> CodeAgent:
    inner = ToolCallingAgent(
        ScriptedModel("x"), tools=[slow], name="waiter", description="Waits.", instructions="Be slow.", journal=None
    )
    return CodeAgent(
        "openai/gpt-none",
        tools=[convert, Multiply()],
        sandbox=NoSandbox(),
        instructions="Answer in Norwegian.",
        limits=Limits(steps=7, cost=None),
        planning_interval=4,
        authorized_imports=["math", "numpy"],
        reply_format=JsonReply(),
        prompt_templates=PromptTemplates(plan="Plan {{task}}."),
        managed_agents=[inner],
        journal=None,
        name="clerk",
        description="Converts money.",
    )


def test_b5_an_agent_comes_back_as_it_was(tmp_path: Path) -> None:
    agent = team()
    folder = save_agent(agent, tmp_path / "clerk")
    again = load_agent(folder, trust=True, sandbox=NoSandbox(), journal=None)
    assert type(again) is CodeAgent
    for name in ("model", "instructions", "prompt_templates", "limits", "name", "description"):
        assert getattr(again, name) == getattr(agent, name)
    assert isinstance(again.reply_format, JsonReply)
    assert {n: t.facts for n, t in again.tools.items()} == {n: t.facts for n, t in agent.tools.items()}
    assert [g.__name__ for g in again.guards] == [g.__name__ for g in agent.guards]
    assert len(again.before_step) == 2
    second = save_agent(again, tmp_path / "second")
    for path in folder.rglob("*.*"):
        assert (second / path.relative_to(folder)).read_text() == path.read_text(), "nothing is lost on the way"
    assert (folder / "agents/waiter/tools/slow/tool.py").is_file()


async def test_b5_a_loaded_agent_does_its_work_in_a_sandbox(tmp_path: Path) -> None:
    folder = save_agent(CodeAgent("m", tools=[convert], sandbox=NoSandbox(), journal=None), tmp_path / "agent")
    model = ScriptedModel(reply("final_answer(convert(3, 'NOK'))"))
    async with load_agent(folder, trust=True, model=model, journal=None) as agent:
        run = await agent.run("Convert.")
    assert run.answer == 32


def test_b5_an_agent_is_not_made_without_trust(tmp_path: Path) -> None:
    folder = save_agent(team(), tmp_path / "clerk")
    with pytest.raises(NotTrusted) as caught:
        load_agent(folder)
    said = str(caught.value)
    for shown in ("tools/convert/tool.py", "def convert(", "agents/waiter/tools/slow/tool.py", "Answer in Norwegian."):
        assert shown in said
    assert "\n" not in said


def test_b5_what_no_folder_holds_must_be_given(tmp_path: Path) -> None:
    def is_small(answer: Any, run: Run) -> bool:
        return True

    page = VisitWebpageTool()
    agent = CodeAgent(
        "m", tools=[page, convert], final_answer_checks=[is_small], sandbox=NoSandbox(), journal=None
    )  # fmt: skip
    folder = save_agent(agent, tmp_path / "agent")
    with pytest.raises(SharingError, match=r"needs visit_webpage, which no folder holds: give tools=\[\.\.\.\]"):
        load_agent(folder, trust=True)
    with pytest.raises(SharingError, match=r"needs is_small, .* give final_answer_checks="):
        load_agent(folder, trust=True, tools=[page])
    options: dict[str, Any] = {"sandbox": NoSandbox(), "journal": None}
    again = load_agent(folder, trust=True, tools=[page], final_answer_checks=[is_small], **options)
    assert set(again.tools) == {"visit_webpage", "convert"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "Evil"}, "is of kind 'Evil'"),
        ({"tools": ["../../etc"]}, "names '../../etc', which is no name"),
        ({"version": 9}, "is of another format"),
        ({"limits": {"steps": -1}}, "Limit steps must be more than 0"),
        ({"limits": {"wishes": 3}}, "is damaged"),
        ({"options": {"sandbox": "process"}}, "unknown option 'sandbox'"),
        ({"tools": ["ghost"]}, "tools/ghost has no tool.py"),
    ],
)
def test_b5_a_card_that_was_tampered_with_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    folder = save_agent(team(), tmp_path / "clerk")
    card = js.loads((folder / "agent.json").read_text())
    (folder / "agent.json").write_text(js.dumps({**card, **change}))
    with pytest.raises(SharingError) as caught:
        load_agent(folder, trust=True, sandbox=NoSandbox(), journal=None)
    assert said in str(caught.value)


def test_b5_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    from cellwright.models.providers import LiteLLMModel

    model = LiteLLMModel("openai/gpt-none", api_key="sk-given-by-hand", api_base="http://127.0.0.1:1/secret-path")
    agent = CodeAgent(model, tools=[convert], sandbox=NoSandbox(), journal=None)
    folder = save_agent(agent, tmp_path / "agent")
    text = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    for secret in ("sk-from-the-environment", "sk-given-by-hand", "secret-path"):
        assert secret not in text
    assert '"model": "openai/gpt-none"' in text
    agent.instructions = "Log in with sk-from-the-environment."
    with pytest.raises(SharingError, match=r"agent\.json would hold the value of OPENAI_API_KEY"):
        save_agent(agent, tmp_path / "other")
    held = Secret("correct horse battery")
    agent.instructions = f"Say {held.reveal()}."
    with pytest.raises(SharingError, match=r"agent\.json would hold the value of a Secret"):
        save_agent(agent, tmp_path / "other")
    assert not (tmp_path / "other").exists()


# ---- the Hub --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HubServer]:
    async with HubServer(token="hf_token_of_the_test") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_token_of_the_test")
        yield server


async def test_b5_a_tool_goes_to_the_hub_and_back(hub: HubServer) -> None:
    commit = await push(convert, "me/convert")
    assert hub.created[0]["visibility"] == "private" or hub.created[0].get("private") is True
    assert sorted(hub.commits["models/me/convert"][0][1]) == ["tool.json", "tool.py"]
    with pytest.raises(NotTrusted) as caught:
        await pull("me/convert")
    assert f"me/convert@{commit}" in str(caught.value), "the commit is shown before it is trusted"
    loaded = await pull("me/convert", trust=True)
    assert isinstance(loaded, Tool)
    assert loaded.facts == convert.facts
    second = await push(Multiply(), "me/convert")
    assert second != commit
    assert (await pull("me/convert", trust=True)).name == "multiply"
    assert (await pull("me/convert", revision=commit, trust=True)).name == "convert", "pinned by its hash"


async def test_b5_an_agent_goes_to_the_hub_and_back(hub: HubServer, tmp_path: Path) -> None:
    await push(team(), "me/clerk", private=False)
    agent = await pull("me/clerk", trust=True, model="other/model", sandbox=NoSandbox(), journal=None)
    assert isinstance(agent, CodeAgent)
    assert (agent.model, set(agent.tools)) == ("other/model", {"convert", "multiply", "waiter"})
    folder = save_tool(slow, tmp_path / "slow")
    await push(folder, "me/slow", repo_type="space")
    assert (await pull("me/slow", repo_type="space", trust=True)).name == "slow"


async def test_b5_of_a_repository_only_what_belongs_to_it_is_fetched(hub: HubServer) -> None:
    hub.commit("models/me/odd", {"tool.py": b"x = 1", "../../evil.py": b"", "weights.bin": b"0" * 9, "app.py": b""})
    with pytest.raises(NotTrusted):
        await pull("me/odd")
    asked = [request.path for request in hub.server.requests if "/resolve/" in request.path]
    assert asked
    assert all(path.partition("?")[0].endswith("tool.py") for path in asked)
    hub.commit("models/me/large", {"tool.py": b"#" * (1 << 21)})
    with pytest.raises(SharingError, match="more or larger files"):
        await pull("me/large")
    hub.commit("models/me/none", {"weights.bin": b""})
    with pytest.raises(SharingError, match="me/none holds no saved tool or agent"):
        await pull("me/none", trust=True)


@pytest.mark.parametrize(
    ("repo", "options", "said"),
    [
        ("me/nothing", {}, "There is no me/nothing"),
        ("me/there", {"revision": "0" * 40}, "There is no me/there of that revision"),
        ("me/there", {"token": "hf_wrong_token"}, "the Hub refused (status 401)"),
        ("a/b/c", {}, "is no name of a repository"),
    ],
)
async def test_b5_what_the_hub_says_no_to_is_one_line(
    hub: HubServer, repo: str, options: dict[str, Any], said: str
) -> None:
    hub.commit("models/me/there", {"tool.py": b"x = 1"})
    with pytest.raises(SharingError) as caught:
        await pull(repo, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_b5_a_hub_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        began = time.monotonic()
        for work in (pull("me/convert"), push(convert, "me/convert")):
            with pytest.raises(SharingError, match=r"The Hub at http://127\.0\.0\.1:\d+ can't be reached"):
                await work
        assert time.monotonic() - began < 10, "huggingface_hub alone tries for 23 s"


async def test_b5_the_command_line_pushes_and_pulls(hub: HubServer, tmp_path: Path) -> None:
    import asyncio

    folder = save_tool(slow, tmp_path / "slow")

    def command(*words: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            share.main(list(words), standalone_mode=False)
        return said.getvalue()

    pushed = await asyncio.to_thread(command, "push", str(folder), "me/slow")
    said = await asyncio.to_thread(command, "pull", "me/slow", str(tmp_path / "got"))
    assert pushed.strip() in said, "the commit is shown"
    assert "nothing of it was run" in said
    assert load_tool(tmp_path / "got", trust=True).name == "slow"
