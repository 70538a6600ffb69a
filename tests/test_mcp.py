"""MCP servers (row B2): real ones, over stdio and over streamable HTTP, and everything that goes wrong with them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cellwright import CodeAgent
from cellwright.errors import ConfigError, ToolCallError, UsageError
from cellwright.mcp import (
    McpServer,
    McpServers,
    McpUnavailable,
    Progress,
    ServerSettings,
    read_file,
    settings_from_words,
)
from cellwright.models.scripted import ScriptedModel
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.tools import Tool

HERE = Path(__file__).parent
PROBE = ServerSettings("probe", command=sys.executable, args=(str(HERE / "mcp_probe.py"),))
LEGACY = ServerSettings("legacy", command=sys.executable, args=(str(HERE / "mcp_legacy.py"),))
TIME = ServerSettings("time", command=sys.executable, args=("-m", "mcp_server_time", "--local-timezone", "UTC"))


def git(folder: Path) -> ServerSettings:
    return ServerSettings("git", command=sys.executable, args=("-m", "mcp_server_git"), cwd=folder)


def by_name(server: McpServer | McpServers) -> dict[str, Tool]:
    tools = server.tools
    return tools if isinstance(tools, dict) else {tool.name: tool for tool in tools}


async def until(is_so: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.01)


@pytest.fixture
async def probe(tmp_path: Path) -> AsyncIterator[McpServer]:
    env = {"PROBE_FOLDER": str(tmp_path)}
    settings = ServerSettings("probe", command=PROBE.command, args=PROBE.args, env=env)
    async with McpServer(settings) as server:
        yield server


# ---- real servers ----------------------------------------------------------------------------------------------------


async def test_b2_the_time_server_of_pypi_answers_with_structured_data() -> None:
    async with McpServer(TIME) as server:
        tools = by_name(server)
        assert set(tools) == {"get_current_time", "convert_time"}
        facts = tools["convert_time"].facts
        assert facts.signature.startswith("convert_time(source_timezone: str, time: str, target_timezone: str)")
        assert '"time_difference": str' in facts.description
        result = await tools["convert_time"]("Asia/Tokyo", "12:00", target_timezone="UTC")
        assert result["time_difference"] == "-9.0h"
        assert result["target"]["datetime"].endswith("03:00:00+00:00")
        with pytest.raises(ToolCallError, match=r"^get_current_time: .*Nowhere") as error:
            await tools["get_current_time"]("Nowhere/Land")
        assert "\n" not in str(error.value)


async def test_b2_the_git_server_of_pypi_reads_and_changes_a_repository(tmp_path: Path) -> None:
    for words in ("init -q -b main", "config user.name Kari", "config user.email kari@example.org"):
        process = await asyncio.create_subprocess_exec("git", *words.split(), cwd=tmp_path)
        assert await process.wait() == 0
    (tmp_path / "a.txt").write_text("one\n")
    async with McpServer(git(tmp_path)) as server:
        tools = by_name(server)
        assert "a.txt" in await tools["git_status"](str(tmp_path))
        await tools["git_add"](str(tmp_path), ["a.txt"])
        await tools["git_commit"](str(tmp_path), message="First")
        assert "First" in str(await tools["git_log"](str(tmp_path), max_count=1))
        with pytest.raises(ToolCallError, match=r"argument files: should be list\[str\]; got 'a.txt' \(str\)"):
            await tools["git_add"](str(tmp_path), "a.txt")


async def test_b2_an_agents_code_calls_two_servers(tmp_path: Path) -> None:
    code = """```python
noon = convert_time("Asia/Tokyo", "12:00", "UTC")
final_answer([noon["time_difference"], add(40), visit({"city": "Bergen"}, how="boat")["city"]])
```"""
    async with McpServers() as servers:
        await servers.add_all([TIME, PROBE])
        sandbox = ChildKernel(isolation=Isolation(level="process"))
        agent = CodeAgent(ScriptedModel(code), tools=servers.tools.values(), sandbox=sandbox, journal=None)
        try:
            run = await agent.run("What time is it?")
        finally:
            await agent.aclose()
    assert run.answer == ["-9.0h", 42, "Bergen by boat"]
    assert [call.name for call in run.steps[0].calls] == ["convert_time", "add", "visit"]


async def test_a_command_that_pip_put_beside_this_python_is_found_without_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    async with McpServer(ServerSettings("time", command="mcp-server-time")) as server:
        assert "convert_time" in by_name(server)


# ---- what comes back -------------------------------------------------------------------------------------------------


async def test_b2_the_model_is_told_in_python_what_a_tool_takes_and_gives(probe: McpServer) -> None:
    signatures = {name: tool.facts.signature for name, tool in by_name(probe).items()}
    assert signatures["add"] == "add(a: int, b: int = 2) -> int"
    assert signatures["visit"] == (
        "visit(place: dict, how: Literal['train', 'boat'] = 'train', note: str | None = None) -> dict"
    )
    assert signatures["list_env"] == "list_env() -> dict[str, str]"
    described = by_name(probe)["visit"].facts.description
    assert 'place: {"city": str, "country": str (optional)}' in described
    assert described.endswith('Returns {"city": str, "country": str (optional)}')


async def test_e5_a_tool_that_may_destroy_is_asked_about_unless_its_server_says_no(probe: McpServer) -> None:
    risky = {tool.name: tool.risky for tool in probe.tools}
    assert (risky["add"], risky["visit"], risky["pid"]) == (False, False, True)


async def test_b2_structured_results_are_plain_data_images_are_base64_and_errors_are_raised(probe: McpServer) -> None:
    tools = by_name(probe)
    assert await tools["add"](1) == 3
    assert await tools["visit"]({"city": "Oslo"}, note="Far") == {"city": "Oslo by train", "country": "Far"}
    assert await tools["picture"]() == ["a dot", {"type": "image", "mime": "image/png", "base64": "ZG90"}]
    with pytest.raises(ToolCallError, match=r"^fail: .*no such thing$"):
        await tools["fail"]()
    with pytest.raises(
        ToolCallError, match=r"^visit: argument place: 'city' is a required property; got \{\} \(dict\)"
    ):
        await tools["visit"]({})
    with pytest.raises(ToolCallError, match="unexpected keyword argument 'c'"):
        await tools["add"](1, c=2)


async def test_b2_a_server_of_the_older_protocol_and_its_news(probe: McpServer) -> None:
    changes = []
    async with McpServer(LEGACY, on_change=lambda: changes.append(1)) as server:
        assert list(by_name(server)) == ["echo", "more"]
        assert await by_name(server)["echo"](text="a") == "a\nfrom a file"
        assert await by_name(server)["more"]() == ""
        await until(lambda: "echo_too" in by_name(server))
        assert changes
    assert "learnt" not in by_name(probe)
    await by_name(probe)["learn"]()
    await until(lambda: "learnt" in by_name(probe))
    assert await by_name(probe)["learnt"]("abc") == "cba"


async def test_b2_an_older_server_that_leaves_unknown_requests_unanswered_is_asked_in_its_own_protocol() -> None:
    # The SDK asks in the protocol of 2026 first, and gives that 10 s.
    settings = ServerSettings("old", command=LEGACY.command, args=(*LEGACY.args, "silent"))
    async with McpServer(settings) as server:
        assert await by_name(server)["echo"](text="a") == "a\nfrom a file"


async def test_b2_progress_reaches_the_tools_caller_and_the_servers_listener(tmp_path: Path) -> None:
    heard: list[Progress] = []
    told: list[str] = []
    async with McpServer(PROBE, on_progress=heard.append) as server:
        assert await by_name(server)["slow"].call((0.2,), {}, told.append) == "done"
    assert heard[3] == Progress("probe", "slow", 3, 10, "part 3")
    assert told[3] == "part 3 (3 of 10)"
    assert len(told) == len(heard) == 10


async def test_b2_a_servers_environment_holds_no_key_that_was_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never")
    settings = ServerSettings("probe", command=PROBE.command, args=PROBE.args, env={"NAMED": "yes"})
    async with McpServer(settings) as server:
        found = await by_name(server)["list_env"]()
    assert found["NAMED"] == "yes"
    assert "PATH" in found
    assert "OPENAI_API_KEY" not in found
    assert "sk-never" not in str(found)


# ---- stop and limits -------------------------------------------------------------------------------------------------


async def test_b2_a_call_of_thirty_seconds_is_stopped_at_once_and_the_server_told(
    probe: McpServer, tmp_path: Path
) -> None:
    tools = by_name(probe)
    calling = asyncio.create_task(tools["slow"](30))
    await asyncio.sleep(0.3)
    begun = time.monotonic()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert time.monotonic() - begun < 0.5
    await until((tmp_path / "cancelled").exists)
    assert await tools["add"](1) == 3


async def test_b2_stopping_a_run_reaches_the_call_under_way(probe: McpServer, tmp_path: Path) -> None:
    sandbox = ChildKernel(isolation=Isolation(level="process"))
    model = ScriptedModel("```python\nslow(30)\n```")
    agent = CodeAgent(model, tools=probe.tools, sandbox=sandbox, journal=None)
    heard = asyncio.Event()
    probe.on_progress = lambda progress: heard.set()
    try:
        running = asyncio.create_task(agent.run("Wait."))
        await asyncio.wait_for(heard.wait(), 60)
        begun = time.monotonic()
        agent.stop()
        run = await running
        assert time.monotonic() - begun < 0.5
        assert run.status == "interrupted"
        await until((tmp_path / "cancelled").exists)
    finally:
        await agent.aclose()


async def test_b2_a_call_that_takes_too_long_is_given_up_in_one_line(tmp_path: Path) -> None:
    settings = ServerSettings("probe", command=PROBE.command, args=PROBE.args, cwd=tmp_path, call_seconds=0.3)
    async with McpServer(settings) as server:
        with pytest.raises(ToolCallError, match=r"^slow: the MCP server probe did not answer within 0.3 s\.$"):
            await by_name(server)["slow"](30)
        assert await by_name(server)["add"](1) == 3


# ---- death -----------------------------------------------------------------------------------------------------------


async def test_b2_a_killed_server_is_started_anew_at_the_next_call_and_that_is_said(tmp_path: Path) -> None:
    notes: list[str] = []
    async with McpServer(PROBE, on_note=notes.append) as server:
        tools = by_name(server)
        for _ in range(2):
            before = await tools["pid"]()
            notes.clear()
            os.kill(before, signal.SIGKILL)
            await until(lambda: not server.is_alive)
            assert await tools["pid"]() != before
            assert len([note for note in notes if "was started anew" in note]) == 1
    assert not psutil.pid_exists(before)


async def test_b2_a_server_that_dies_whenever_it_is_called_is_not_started_forever() -> None:
    async with McpServer(PROBE) as server:
        tools = by_name(server)
        for _ in range(2):
            with pytest.raises(
                ToolCallError, match=r"^die: the MCP server probe ended during the call: .*I can't go on"
            ):
                await tools["die"]()
        with pytest.raises(ToolCallError, match=r"died again .* is not started a third time"):
            await tools["add"](1)


async def test_b2_nothing_is_left_running_and_closed_tools_say_so(tmp_path: Path) -> None:
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    tasks = len(asyncio.all_tasks())
    async with McpServers() as servers:
        await servers.add_all([PROBE, LEGACY, TIME])
        add = servers.tools["add"]
        calling = asyncio.create_task(servers.tools["slow"](30))
        await asyncio.sleep(0.2)
    with pytest.raises(ToolCallError, match="ended during the call"):
        await calling
    assert {child.pid for child in me.children(recursive=True)} <= before
    assert len(asyncio.all_tasks()) == tasks
    with pytest.raises(ToolCallError, match="add: the MCP server probe is not connected any more"):
        await add(1)


async def test_b2_a_server_that_does_not_end_by_itself_is_killed(tmp_path: Path) -> None:
    stubborn = tmp_path / "stubborn.py"
    script = (HERE / "mcp_legacy.py").read_text().replace("import sys\n", "import signal, sys, time, os\n", 1)
    stubborn.write_text(
        f"{script}\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(600)\n", encoding="utf-8"
    )
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    async with McpServer(ServerSettings("s", command=sys.executable, args=(str(stubborn),))):
        pass
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


# ---- streamable HTTP -------------------------------------------------------------------------------------------------


class HttpProbe:
    """The probe as a process of its own on loopback."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(HERE / "mcp_probe.py"), str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until_then = time.monotonic() + 30
        while time.monotonic() < until_then:
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("The probe did not start.")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def over_http() -> Iterator[HttpProbe]:
    process = HttpProbe()
    yield process
    process.stop()


async def test_b2_over_http_tools_answer_fail_and_stop(over_http: HttpProbe) -> None:
    async with McpServer(ServerSettings("web", url=over_http.url, headers={"X-Key": "k"})) as server:
        tools = by_name(server)
        assert await tools["add"](1, 1) == 2
        assert await tools["visit"]({"city": "Oslo"}) == {"city": "Oslo by train", "country": "Norway"}
        with pytest.raises(ToolCallError, match="no such thing"):
            await tools["fail"]()
        await tools["learn"]()
        await until(lambda: "learnt" in by_name(server))
        calling = asyncio.create_task(tools["slow"](30))
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert time.monotonic() - begun < 0.5
        assert await tools["add"](1) == 3
        begun = time.monotonic()
    assert time.monotonic() - begun < 2


async def test_b2_over_http_a_dead_server_is_one_line_and_used_again_once_it_is_back(over_http: HttpProbe) -> None:
    notes: list[str] = []
    async with McpServer(ServerSettings("web", url=over_http.url), on_note=notes.append) as server:
        add = by_name(server)["add"]
        assert await add(1) == 3
        over_http.stop()
        # The first may be sent into a connection that is just being closed: whether it was read, nobody knows.
        for said in (r"nothing answers there|ended during the call", "nothing answers there"):
            with pytest.raises(ToolCallError, match=rf"^add: .*({said})") as error:
                await add(1)
            assert "\n" not in str(error.value)
        over_http.start()
        assert await add(1) == 3
        assert any("The connection to the MCP server web was lost" in note for note in notes)


# ---- what can't be connected -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"command": "no-such-mcp-server"}, "there is no command 'no-such-mcp-server'"),
        ({"command": sys.executable, "cwd": Path("/no/such")}, "there is no folder '/no/such'"),
        ({"command": sys.executable, "args": ("-c", "raise SystemExit('no key')")}, "it ended .* saying: no key"),
        ({"command": "sleep", "args": ("60",), "start_seconds": 0.5}, "it did not answer within 0.5 s"),
        ({"url": "http://127.0.0.1:9/mcp"}, "nothing answers there"),
    ],
)
async def test_b2_what_can_not_be_started_or_reached_is_one_line(settings: dict[str, Any], said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(McpUnavailable, match=f"^MCP server bad .*{said}") as error:
        await McpServer(ServerSettings("bad", **settings)).start()
    assert "\n" not in str(error.value)
    assert time.monotonic() - begun < 15


async def test_b2_an_address_without_an_mcp_server_is_one_line(over_http: HttpProbe) -> None:
    wrong = over_http.url.replace("/mcp", "/elsewhere")
    with pytest.raises(McpUnavailable, match="it is no MCP server, or it refuses us"):
        await McpServer(ServerSettings("bad", url=wrong)).start()


async def test_b2_a_refusal_is_told_from_a_wrong_address() -> None:
    async def refuse(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        await reading.readuntil(b"\r\n\r\n")
        writing.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writing.drain()
        writing.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(McpUnavailable, match=r"it refuses us .* saying: 401 Unauthorized"):
            await McpServer(ServerSettings("bad", url=f"http://127.0.0.1:{port}/mcp")).start()


async def test_b2_a_stop_does_not_wait_for_a_server_that_is_being_started() -> None:
    server = McpServer(ServerSettings("slow", command="sleep", args=("60",)))
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0.5)
    begun = time.monotonic()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert time.monotonic() - begun < 0.5
    await server.aclose()
    assert not [child for child in psutil.Process().children() if child.name() == "sleep"]


def test_b2_nothing_heavy_is_imported_before_a_server_starts() -> None:
    code = (
        "import sys, cellwright.mcp, cellwright.adapters.langchain, cellwright.adapters.gradio\n"
        "print({'mcp', 'jsonschema', 'langchain_core', 'gradio_client', 'httpx', 'pydantic'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"


def test_b2_without_the_sdk_it_is_said_what_to_install() -> None:
    code = (
        "import asyncio, sys\nsys.modules['mcp'] = None\nfrom cellwright.mcp import *\n"
        "try: asyncio.run(McpServer(ServerSettings('a', command='b')).start())\nexcept McpUnavailable as e: print(e)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'pip install "cellwright[mcp]"' in shown


# ---- names -----------------------------------------------------------------------------------------------------------


async def test_b2_names_that_clash_get_a_prefix_and_that_is_said() -> None:
    notes: list[str] = []
    two = ServerSettings("my-other", command=PROBE.command, args=PROBE.args)
    async with McpServers(taken=lambda: {"fail"}, on_note=notes.append) as servers:
        await servers.add_all([PROBE, two])
        tools = servers.tools
        assert {"add", "my_other_add", "probe_print", "my_other_print", "list_env", "probe_fail"} <= set(tools)
        assert not {"print", "fail"} & set(tools)
        assert await tools["probe_print"]("a") == "A"
        assert await tools["my_other_pid"]() != await tools["pid"]()
        assert "The tool add of the MCP server my-other is called my_other_add: add is taken." in notes
        assert len(notes) == len(set(notes))
        rows = servers.rows()
        assert [row[0] for row in rows] == ["probe", "my-other"]
        assert rows[0][2] == "running"
        with pytest.raises(UsageError, match="did you mean 'my-other'"):
            await servers.remove("my-othr")
        await servers.remove("probe")
        assert "add" in servers.tools
        with pytest.raises(UsageError, match="There is an MCP server my-other already"):
            await servers.add(two)


async def test_b2_several_servers_are_connected_all_or_none() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    async with McpServers() as servers:
        with pytest.raises(McpUnavailable, match="no command 'nope'"):
            await servers.add_all([PROBE, ServerSettings("bad", command="nope")])
        assert servers.tools == {}
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


# ---- words and files -------------------------------------------------------------------------------------------------


def test_b2_words_that_a_person_types() -> None:
    assert settings_from_words("time", ["--", "uvx", "mcp-server-time", "-v"]) == ServerSettings(
        "time", command="uvx", args=("mcp-server-time", "-v")
    )
    assert settings_from_words("web", ["https://example.org/mcp"]).url == "https://example.org/mcp"
    with_env = settings_from_words("a", ["x"], env=["KEY=a=b", "EMPTY="])
    assert with_env.env == {"KEY": "a=b", "EMPTY": ""}
    with_header = settings_from_words("a", ["https://a.org/mcp"], headers=["Authorization: Bearer t:1"])
    assert with_header.headers == {"Authorization": "Bearer t:1"}
    for options, wrong in [({"env": ["sk-secret"]}, "KEY=VALUE"), ({"headers": ["x"]}, "Name: value")]:
        with pytest.raises(UsageError, match=f"^A [a-z]+ is written .*{wrong}"):
            settings_from_words("a", ["x"] if "env" in options else ["https://a.org/mcp"], **options)
    for words, said in [
        ([], "What is to be added"),
        (["https://a/mcp", "x"], "nothing else may stand"),
        (["http://"], "no http or https address"),
    ]:
        with pytest.raises(UsageError, match=said):
            settings_from_words("a", words)
    with pytest.raises(UsageError, match="one word"):
        settings_from_words("a b", ["x"])


def test_b2_the_file_as_claude_desktop_claude_code_and_vs_code_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "t-123")
    desktop = tmp_path / "desktop.json"
    servers = {
        "a": {"command": "npx", "args": ["-y", "x"], "env": {"K": "${TOKEN}"}},
        "b": {"command": "y", "disabled": True},
    }
    desktop.write_text(json.dumps({"mcpServers": servers}))
    [only] = read_file(desktop)
    assert only == ServerSettings("a", command="npx", args=("-y", "x"), env={"K": "t-123"})
    assert "t-123" not in repr(only)

    code = tmp_path / ".mcp.json"
    header = {"Authorization": "Bearer ${TOKEN}", "X": "${NOT_SET:-none}"}
    code.write_text(
        json.dumps({"mcpServers": {"web": {"type": "http", "url": "https://a.org/mcp", "headers": header}}})
    )
    assert read_file(code)[0].headers == {"Authorization": "Bearer t-123", "X": "none"}

    (tmp_path / ".vscode").mkdir()
    (tmp_path / "more.env").write_text("FROM_FILE=1\n")
    vscode = tmp_path / ".vscode" / "mcp.json"
    vscode.write_text(
        """{
        // servers of this project
        "servers": {
            "files": {"type": "stdio", "command": "x", "args": ["${workspaceFolder}/data", "${env:TOKEN}"],
                      "envFile": "${workspaceFolder}/more.env", "dev": {"watch": "*"}}, /* one */
            "web": {"url": "https://a.org/mcp"},
        },
    }"""
    )
    files, web = read_file(vscode)
    assert files.args == (str(tmp_path / "data"), "t-123")
    assert files.env == {"FROM_FILE": "1"}
    assert web.url == "https://a.org/mcp"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON: .* line 1 column 2"),
        ("[]", "has no key 'mcpServers'"),
        ('{"mcpserver": {}}', "no key 'mcpServers' .* its keys: 'mcpserver'"),
        ('{"mcpServers": []}', r"mcpServers: should be an object of servers by name; got \[\] \(list\)"),
        ('{"mcpServers": {"a": "x"}}', r"mcpServers\.a: should be an object; got"),
        ('{"mcpServers": {"a": {}}}', r"mcpServers\.a: it needs a command .* or a url"),
        ('{"mcpServers": {"a": {"comand": "x"}}}', r"mcpServers\.a: unknown key 'comand'; did you mean 'command'"),
        ('{"mcpServers": {"a": {"command": 3}}}', r"mcpServers\.a\.command: should be a string; got 3 \(int\)"),
        ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', r"a\.args: should be a list of strings"),
        ('{"mcpServers": {"a": {"command": "x", "args": ["y", 1]}}}', r"a\.args\.1: should be a string"),
        ('{"mcpServers": {"a": {"command": "x", "env": {"K": "${UNSET_X}"}}}}', r"a\.env\.K: .* no variable UNSET_X"),
        ('{"servers": {"a": {"command": "x", "env": {"K": "${input:key}"}}}}', r"servers\.a\.env\.K: .*env:NAME"),
        ('{"mcpServers": {"a": {"url": "ftp://x"}}}', "url: 'ftp://x' is no http"),
        ('{"mcpServers": {"a": {"url": "http://x", "command": "y"}}}', "has a command and a url"),
        ('{"mcpServers": {"a": {"type": "sse", "url": "http://x"}}}', r"a: type: sse is the transport"),
    ],
)
def test_b2_a_wrong_file_names_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        read_file(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_b2_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.json can't be read: No such file"):
        read_file(tmp_path / "gone.json")
