"""Adapters (row B4): LangChain tools and Gradio apps as tools of ours, with the real packages; tools from a schema."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from langchain_core.tools import InjectedToolArg, StructuredTool, ToolException
from langchain_core.tools import tool as langchain_tool
from pydantic import BaseModel, Field

from cellwright import CodeAgent
from cellwright.adapters.gradio import from_gradio
from cellwright.adapters.langchain import from_langchain
from cellwright.adapters.schema_text import hint, identifier, keys
from cellwright.adapters.schema_tool import SchemaTool, Tell
from cellwright.errors import ToolCallError, ToolDefinitionError
from cellwright.models.scripted import ScriptedModel
from cellwright.outputs import Json
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

# ---- a tool from a JSON schema ---------------------------------------------------------------------------------------


async def echo(arguments: dict[str, Json], tell: Tell) -> Json:
    return arguments


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string"}, "str"),
        ({"type": ["integer", "null"]}, "int | None"),
        ({"anyOf": [{"type": "null"}, {"type": "number"}]}, "float | None"),
        ({"enum": ["a", 1, None]}, "Literal['a', 1, None]"),
        ({"const": "a"}, "Literal['a']"),
        ({"type": "array", "items": {"type": "array", "items": {}}}, "list[list]"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "dict[str, bool]"),
        ({"$ref": "#/$defs/Tree"}, "dict"),
        ({"$ref": "https://example.org/schema"}, "Any"),
        ({"allOf": [{"$ref": "#/$defs/Tree"}]}, "dict"),
        ({"properties": {"a": {}}}, "dict"),
        ({}, "Any"),
        (True, "Any"),
    ],
)
def test_schemas_are_hints(schema: Json, said: str) -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}, "value": {"type": "integer"}}}
    assert hint(schema, {"$defs": {"Tree": tree}}) == said
    assert keys({"$ref": "#/$defs/Tree"}, {"$defs": {"Tree": tree}}).count("left") <= 4


@pytest.mark.parametrize(
    ("name", "made"),
    [("list-files", "list_files"), ("2d.plot", "_2d_plot"), ("from", "from_"), ("é", "unnamed"), ("a b/c", "a_b_c")],
)
def test_names_are_made_names_of_python(name: str, made: str) -> None:
    assert identifier(name) == made
    assert identifier(name, {made}) == f"{made}_2"


async def test_arguments_have_names_of_python_and_are_sent_under_their_own() -> None:
    schema = {
        "properties": {
            "max-size": {"type": "integer", "default": 3, "description": "In bytes."},
            "from": {"type": "string"},
            "tag": {"type": "string"},
        },
        "required": ["from"],
    }
    made = SchemaTool("list-files", "List files.", schema, echo)
    assert made.facts.signature == "list_files(from_: str, max_size: int = 3, tag: str | None = None)"
    assert made.facts.description == "List files.\nmax_size: In bytes."
    assert made.facts.parameters["required"] == ["from_"]
    assert set(made.facts.parameters["properties"]) == {"max_size", "from_", "tag"}
    assert await made("a", 4) == {"from": "a", "max-size": 4}
    assert await made(from_="a", tag=None) == {"from": "a"}, "what is left out, the other side fills in"
    for args, kwargs, said in [
        ((), {}, "missing a required argument: 'from_'. Its signature is list_files(from_: str, "),
        (("a", "4"), {}, "list_files: argument max_size: should be int; got '4' (str)."),
        (("a",), {"where": 1}, "unexpected keyword argument 'where'"),
    ]:
        with pytest.raises(ToolCallError) as error:
            await made(*args, **kwargs)
        assert said in str(error.value)


async def test_a_schema_that_is_none_and_references_that_lead_elsewhere() -> None:
    with pytest.raises(ToolDefinitionError, match="Tool a: its JSON schema is wrong"):
        SchemaTool("a", "", {"properties": {"x": {"type": "nonsense"}}}, echo)
    made = SchemaTool("a", "", {"properties": {"x": {"$ref": "http://127.0.0.1:9/schema.json"}}}, echo)
    with pytest.raises(ToolCallError, match="refers to nothing"):
        await made(1)


async def test_free_arguments_and_a_result_that_is_no_data() -> None:
    async def send(arguments: dict[str, Json], tell: Tell) -> object:
        return object() if "bad" in arguments else arguments

    made = SchemaTool("a", "d", {"properties": {"x": {}}, "additionalProperties": True}, send)
    assert made.facts.signature == "a(x: Any | None = None, **more: Any)".replace("Any | None", "Any")
    assert await made(1, y=2) == {"x": 1, "y": 2}
    with pytest.raises(ToolCallError, match="has no JSON form"):
        await made(bad=1)


# ---- LangChain -------------------------------------------------------------------------------------------------------


class Query(BaseModel):
    city: str = Field(description="Where.")
    unit: Literal["C", "F"] = "C"
    days: int | None = None


@langchain_tool("weather-now", args_schema=Query)
async def weather(city: str, unit: str = "C", days: int | None = None) -> dict[str, Any]:
    """Say what the weather is like."""
    if city == "Atlantis":
        raise ToolException("no weather\nthere")
    return {"city": city, "unit": unit, "days": days}


async def test_b4_a_langchain_tool_keeps_name_meaning_and_schema() -> None:
    made = from_langchain(weather)
    assert made.facts.signature == (
        "weather_now(city: str, unit: Literal['C', 'F'] = 'C', days: int | None = None) -> dict[str, Any]"
    )
    assert made.facts.description == "Say what the weather is like.\ncity: Where."
    assert await made("Oslo", unit="F") == {"city": "Oslo", "unit": "F", "days": None}
    with pytest.raises(ToolCallError, match=r"argument unit: should be Literal\['C', 'F'\]; got 'K'"):
        await made("Oslo", "K")
    with pytest.raises(ToolCallError, match=r"^weather_now failed: ToolException: no weather there$"):
        await made("Atlantis")


async def test_b4_sync_tools_injected_arguments_artifacts_and_other_names() -> None:
    @langchain_tool
    def shout(text: str, user: Annotated[str, InjectedToolArg] = "nobody") -> str:
        """Shout."""
        return text.upper() + user

    assert from_langchain(shout).facts.signature == "shout(text: str) -> str"
    assert await from_langchain(shout)("a") == "Anobody"

    def both(n: int) -> tuple[str, bytes]:
        return f"{n} rows", b"\xff" * n

    table = StructuredTool.from_function(both, description="A table.", response_format="content_and_artifact")
    made = from_langchain(table, name="rows", description="Rows.")
    assert (made.name, made.facts.description) == ("rows", "Rows.")
    assert await made(3) == "3 rows"
    with pytest.raises(ToolDefinitionError, match="function is no LangChain tool"):
        from_langchain(both)  # type: ignore[arg-type]


async def test_b4_a_stop_reaches_a_langchain_tool() -> None:
    stopped = asyncio.Event()

    @langchain_tool
    async def wait(seconds: float) -> str:
        """Wait."""
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            stopped.set()
            raise
        return "done"

    calling = asyncio.create_task(from_langchain(wait)(30))
    await asyncio.sleep(0.1)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert stopped.is_set()


# ---- Gradio ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Gradio app that runs in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("gradio")
    command = [sys.executable, str(Path(__file__).parent / "gradio_probe.py"), str(port)]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder / "files")}
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    for _ in range(600):
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


async def test_b4_a_gradio_endpoint_is_a_tool(app: str) -> None:
    greet = await from_gradio(app, "/greet")
    assert greet.facts.signature == "greet(name: str, times: int = 1, mood: Literal['glad', 'sad'] = 'glad') -> str"
    assert greet.facts.description == "Greet somebody.\nname: Whom"
    assert await greet("Kari") == "glad Kari "
    assert await greet("Kari", mood="sad", times=2) == "sad Kari sad Kari "
    with pytest.raises(ToolCallError, match=r"greet: argument mood: should be Literal\['glad', 'sad'\]"):
        await greet("Kari", mood="odd")
    with pytest.raises(ToolCallError, match=r"^fail failed: AppError: no such thing$"):
        await (await from_gradio(app, "fail"))()


async def test_b4_files_cross_as_what_they_hold(app: str) -> None:
    turned = await from_gradio(app, "turned", name="turn")
    assert turned.facts.signature == "turn(image: str | dict) -> dict"
    dot = base64.b64encode(DOT).decode()
    back = await turned({"base64": dot, "name": "dot.png"})
    assert back["type"] == "file"
    assert back["mime"].startswith("image/")
    assert base64.b64decode(back["base64"])
    assert (await turned(f"data:image/png;base64,{dot}"))["base64"] == back["base64"]
    assert (await turned(back))["base64"]
    assert await (await from_gradio(app, "length"))({"base64": base64.b64encode(b"x" * 3000).decode()}) == 3000
    lengths = await from_gradio(app, "lengths")
    assert await lengths([{"base64": "eA=="}, "data:text/plain;base64,eHg="]) == [1, 2]


async def test_b4_no_file_of_this_machine_is_sent(app: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("never")
    data = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    length = await from_gradio(app, "length")
    for value in (str(secret), f"file://{secret}", data):
        with pytest.raises(ToolCallError, match=r"length: (a file is given as|argument file: )"):
            await length(value)
    anything = await from_gradio(app, "anything")
    for nested in (data, [data], {"a": {"b": data}}):
        with pytest.raises(ToolCallError, match="names a file of this machine, which is not sent"):
            await anything(nested)
    example = await from_gradio(app, "example")
    assert example.facts.signature == "example(file: str | dict) -> int"


async def test_b4_a_path_in_a_result_is_text_and_nothing_is_opened(app: str) -> None:
    anything = await from_gradio(app, "anything")
    assert await anything({"a": [1, None, "x"]}) == [{"a": [1, None, "x"]}, "/etc/hostname"]
    with pytest.raises(ToolCallError, match="crafted: the file /etc/hostname can't be had: status 403"):
        await (await from_gradio(app, "crafted"))()


async def test_b4_the_token_saved_on_this_machine_is_not_sent(app: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_never_sent")
    seen = await (await from_gradio(app, "headers"))()
    assert "hf_never_sent" not in str(seen)
    given = await (await from_gradio(app, "headers", token="hf_given"))()
    assert "hf_given" in str(given)


async def test_b4_a_client_of_ones_own_is_taken_without_its_downloads(app: str, tmp_path: Path) -> None:
    from gradio_client import Client

    client = await asyncio.to_thread(
        Client, app, token=False, headers={"X-Mine": "yes"}, download_files=tmp_path, verbose=False
    )
    seen = await (await from_gradio(client, "headers"))()
    assert seen["x-mine"] == "yes"
    turned = await from_gradio(client, "turned")
    assert (await turned({"base64": base64.b64encode(DOT).decode(), "name": "a.png"}))["type"] == "file"
    assert list(await asyncio.to_thread(tmp_path.iterdir)) == []
    await asyncio.to_thread(client.close)


async def test_b4_progress_and_stop(app: str) -> None:
    slow = await from_gradio(app, "slow")
    told: list[str] = []
    assert await slow.call((2,), {}, told.append) == "done"
    assert any(text.startswith("part (") and text.endswith(" of 10)") for text in told)
    calling = asyncio.create_task(slow(30))
    await asyncio.sleep(1)
    begun = time.monotonic()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert time.monotonic() - begun < 0.5


async def test_b4_what_can_not_be_used_is_one_line(app: str) -> None:
    for source, name, said in [
        (app, None, "several endpoints; name one by api_name: .*/greet"),
        (app, "/gret", "no endpoint /gret; did you mean '/greet'"),
        ("http://127.0.0.1:9", None, "The Gradio app http://127.0.0.1:9 can't be used: ConnectError"),
    ]:
        with pytest.raises(ToolDefinitionError, match=said) as error:
            await from_gradio(source, name)
        assert "\n" not in str(error.value)


async def test_b4_an_agents_code_calls_both(app: str) -> None:
    code = '```python\nfinal_answer([greet("Kari"), weather_now("Oslo")["unit"]])\n```'
    tools = [await from_gradio(app, "greet"), from_langchain(weather)]
    sandbox = ChildKernel(isolation=Isolation(level="process"))
    agent = CodeAgent(ScriptedModel(code), tools=tools, sandbox=sandbox, journal=None)
    try:
        run = await agent.run("Greet Kari.")
    finally:
        await agent.aclose()
    assert run.answer == ["glad Kari ", "C"]
