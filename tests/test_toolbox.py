"""The toolbox (row B3): each tool against a real server on loopback; what must not be reached is not reached."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from cellwright import CodeAgent, ScriptedModel
from cellwright.errors import ToolCallError, ToolDefinitionError, UsageError
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.toolbox import TOOLBOX, Lent, toolbox_by_name
from cellwright.toolbox.fetch import Web, fetch, is_public
from cellwright.toolbox.person import UserInputTool
from cellwright.toolbox.python import PythonInterpreterTool
from cellwright.toolbox.search import WebSearchTool, WikipediaSearchTool
from cellwright.toolbox.speech import MAX_BYTES, SpeechToTextTool
from cellwright.toolbox.webpage import VisitWebpageTool
from cellwright.tools import Tool
from web_server import Reply, Request, WebServer, page, redirect

LOOPBACK = Web(allow_private=True, seconds=5.0)


async def refused(tool: Tool, *args: Any) -> str:
    """What the tool says when it refuses; one line."""
    with pytest.raises(ToolCallError) as error:
        await tool(*args)
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(f"{tool.name}: "), said
    return said.removeprefix(f"{tool.name}: ")


# ---- which addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 127.1.2.3 10.0.0.1 172.16.5.4 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1 239.1.1.1 0.0.0.0 "
    "255.255.255.255 192.0.2.1 198.18.0.1 240.0.0.1 ::1 :: fe80::1 fc00::1 fd12::1 ff02::1 fec0::1 ::127.0.0.1 "
    "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001:db8::1 "
    "2001:0:4136:e378:8000:63bf:80ff:fffe 100::1".split(),
)
def test_b3_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    assert not Web().allows(address)
    assert Web(allow_private=True).allows(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_b3_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


def test_b3_single_networks_may_be_allowed() -> None:
    web = Web(allow_private=("10.1.0.0/16",))
    assert web.allows("10.1.2.3")
    assert not web.allows("10.2.0.1")
    assert web.allows("8.8.8.8")


@pytest.mark.parametrize("host", "127.0.0.1 localhost 0x7f.1 2130706433 0177.0.0.1 [::1] [::ffff:127.0.0.1] 0".split())
async def test_b3_the_hosts_own_services_are_not_reached_however_their_address_is_written(host: str) -> None:
    async with WebServer({"/": page("secret")}) as server:
        said = await refused(VisitWebpageTool(), server.url("/", host))
    # httpx itself refuses 0177.0.0.1, which other programs take for 127.0.0.1.
    assert "private or reserved network" in said or "Invalid IPv4 address" in said
    assert server.requests == []


async def test_b3_a_redirect_to_a_private_address_is_not_followed() -> None:
    web = Web(allow_private=("127.0.0.2/32",), seconds=5.0)
    async with WebServer({"/inside": page("secret")}, hosts=["127.0.0.1", "127.0.0.2"]) as server:
        server.pages["/"] = redirect(server.url("/inside", "127.0.0.1"))
        said = await refused(VisitWebpageTool(web=web), server.url("/", "127.0.0.2"))
    assert "private or reserved network" in said
    assert [(request.path, request.address) for request in server.requests] == [("/", "127.0.0.2")]


class Rebinding:
    """A name server whose answer changes with every question."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0)


async def test_b3_the_address_that_was_checked_is_the_one_connected_to() -> None:
    names = Rebinding(["127.0.0.2"], ["127.0.0.1"])
    web = Web(allow_private=("127.0.0.2/32",), seconds=5.0, resolve=names)
    async with WebServer({"/": page("open"), "/on": redirect("/")}, hosts=["127.0.0.1", "127.0.0.2"]) as server:
        got = await fetch(server.url("/", "rebind.test"), web)
        assert got.body == b"open"
        assert got.url == server.url("/", "rebind.test")
        assert names.asked == ["rebind.test"]  # once: there is no second answer to be led astray by
        assert [request.address for request in server.requests] == ["127.0.0.2"]
        assert server.requests[0].headers["host"] == f"rebind.test:{server.port}"
        with pytest.raises(ToolCallError, match="private or reserved network"):
            await fetch(server.url("/", "rebind.test"), web)
        names.answers = [["127.0.0.2"], ["127.0.0.1"]]
        with pytest.raises(ToolCallError, match="private or reserved network"):
            await fetch(server.url("/on", "rebind.test"), web)  # a redirect is looked up, and checked, again
    assert [request.path for request in server.requests] == ["/", "/on"]


async def test_b3_of_several_addresses_only_allowed_ones_are_tried_one_after_another() -> None:
    names = Rebinding(["127.0.0.1", "127.0.0.3", "127.0.0.2"])
    web = Web(allow_private=("127.0.0.2/32", "127.0.0.3/32"), seconds=5.0, resolve=names)
    async with WebServer({"/": page("open")}, hosts=["127.0.0.1", "127.0.0.2"]) as server:  # nobody listens at .3
        await fetch(server.url("/", "many.test"), web)
    assert [request.address for request in server.requests] == ["127.0.0.2"]


async def test_b3_certificates_are_checked_for_the_name_though_the_address_is_connected_to() -> None:
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("page.test").configure_cert(serving)
    authority.configure_trust(trusting)

    async def local(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    web = Web(allow_private=True, seconds=5.0, resolve=local, verify=trusting)
    async with WebServer({"/": page("open")}, tls=serving) as server:
        assert (await fetch(server.url("/", "page.test"), web)).body == b"open"
        with pytest.raises(ToolCallError, match="certificate verify failed"):
            await fetch(server.url("/", "other.test"), web)
    assert len(server.requests) == 1


async def test_b3_a_proxy_of_the_environment_is_not_used() -> None:
    program = (
        "import asyncio, sys\nfrom cellwright.toolbox.fetch import Web, fetch\n"
        "print(asyncio.run(fetch(sys.argv[1], Web(allow_private=True))).body.decode())"
    )
    async with WebServer({"/": page("open")}) as server, WebServer({}) as proxy:
        environment = {"http_proxy": proxy.url(""), "HTTP_PROXY": proxy.url(""), "ALL_PROXY": proxy.url("")}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, server.url("/"), env=environment, stdout=subprocess.PIPE
        )
        out, _ = await child.communicate()
    assert out == b"open\n"
    assert proxy.requests == []


# ---- how much -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "begins with http:// or https://"),
        ("ftp://example.com/a", "begins with http:// or https://"),
        ("example.com", "begins with http:// or https://"),
        ("http://", "begins with http:// or https://"),
        ("http://[::1", "is no address of a page"),
        ("http://a\x00b/", "is no address of a page"),
        ("http://user:pass@127.0.0.1/", "user and password"),
        ("http://no-such-host.invalid/", "the name no-such-host.invalid is not known"),
        ("http://127.0.0.1:9/", "can't be reached"),
    ],
)
async def test_b3_addresses_that_lead_nowhere_are_said_in_one_line(url: str, said: str) -> None:
    assert said in await refused(VisitWebpageTool(web=LOOPBACK), url)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b"gone", 404), "answered 404 Not Found."),
        (Reply(b"oops", 599), "answered 599."),
        (Reply(b"%PDF-1.7", headers={"Content-Type": "application/pdf"}), "is no page but application/pdf"),
        (Reply(b"\0\1\2", headers={"Content-Type": "text/plain"}), "is no page but text/plain"),
        (page("x", **{"Content-Encoding": "br"}), "compressed with br, which was not asked for"),
        (page("not gzip", **{"Content-Encoding": "gzip"}), "is not compressed as it says"),
        (redirect("/page"), "redirects more than 5 times"),
        (redirect("ftp://example.com/"), "redirects to something that is neither http nor https"),
        (redirect("http://[::1"), "can't be reached: Invalid URL in location header"),
        (Reply(b"late", seconds=30.0), "did not answer within 0.5 s"),
        (Reply(b"slow" * 100, drip=0.2), "did not answer within 0.5 s"),
    ],
)
async def test_b3_pages_that_can_not_be_read_are_said_in_one_line(reply: Reply, said: str) -> None:
    async with WebServer({"/page": reply}) as server:
        begun = time.monotonic()
        assert said in await refused(VisitWebpageTool(web=Web(True, seconds=0.5)), server.url("/page"))
        assert time.monotonic() - begun < 2.0


async def test_b3_a_large_page_is_cut_and_a_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(b"<p>" + b"a" * 50_000_000)
    assert len(bomb) < 100_000
    async with WebServer(
        {
            "/large": page("word " * 100_000, "text/plain"),
            "/bomb": Reply(bomb, headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}),
            "/fine": Reply(gzip.compress(b"fine"), headers={"Content-Type": "text/plain", "Content-Encoding": "gzip"}),
        }
    ) as server:
        visit = VisitWebpageTool(max_output_length=1000, web=Web(True, max_bytes=10_000))
        text = await visit(server.url("/large"))
        assert text.endswith("word\n\n(There is more; this is the beginning.)")
        assert len(text) < 1100
        got = await fetch(server.url("/bomb"), visit.web)
        assert (len(got.body), got.is_cut) == (10_000, True)
        assert await visit(server.url("/fine")) == "fine"


# ---- visit_webpage ------------------------------------------------------------------------------------------------

HTML = """<!DOCTYPE html><html><head><title>Fjords</title><style>p {color: red}</style></head><body>
<script>alert("no")</script><h1>Fjords of Norway</h1><p>See <a href="/map?x=1">the <b>map</b></a>.</p>
<table><tr><th>name</th><th>km</th></tr><tr><td>Sogne</td><td>205</td></tr></table>
<img src="data:image/png;base64,AAAA" alt="a fjord"><ul><li>one</li><li>two</li></ul></body></html>"""


async def test_b3_visit_webpage_gives_markdown_with_links_that_can_be_followed() -> None:
    async with WebServer({"/": page(HTML)}) as server:
        text = await VisitWebpageTool(web=LOOPBACK)(server.url("/"))
    assert "# Fjords of Norway" in text
    assert f"See [the **map**]({server.url('/map?x=1')})." in text
    assert "| name | km |" in text
    assert "| Sogne | 205 |" in text
    assert "* one" in text
    for unseen in ("alert", "color: red", "base64"):
        assert unseen not in text
    assert server.requests[0].headers["user-agent"].startswith("Cellwright/")


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply("<p>blåbær</p>".encode("latin-1"), headers={"Content-Type": "text/html; charset=latin-1"}), "blåbær"),
        (
            Reply('<meta charset="latin-1"><p>blåbær</p>'.encode("latin-1"), headers={"Content-Type": "text/html"}),
            "blåbær",
        ),
        (Reply("<p>blåbær</p>".encode(), headers={"Content-Type": "text/html; charset=klingon"}), "blåbær"),
        (Reply(b"<p>untold</p>"), "untold"),
        (page('<?xml version="1.0"?><html><p>strict</p></html>', "application/xhtml+xml"), "strict"),
        (page("<title>Only</title><p>text</p>"), "# Only\n\ntext"),
        (page('{"a": [1]}', "application/json"), '{"a": [1]}'),
        (page("<a>1</a>", "application/atom+xml"), "<a>1</a>"),
        (page("a,b\n1,2\n", "text/csv"), "a,b\n1,2\n"),
        (page(""), ""),
        (page("http://only.an/address"), "http://only.an/address"),
        (page('<p><a href="http://[bad">x</a></p>'), "[x](http://[bad)"),
    ],
)
async def test_b3_pages_as_servers_really_send_them(reply: Reply, text: str) -> None:
    async with WebServer({"/": reply}) as server:
        assert await VisitWebpageTool(web=LOOPBACK)(server.url("/")) == text


async def test_b3_a_page_that_is_nested_too_deeply_is_refused_in_one_line() -> None:
    async with WebServer({"/": page("<div>" * 50_000)}) as server:
        assert "nested too deeply" in await refused(VisitWebpageTool(web=Web(True, seconds=30.0)), server.url("/"))


# ---- search -------------------------------------------------------------------------------------------------------


def results(*hits: tuple[str, str, str]) -> Reply:
    """A page of results, built as DuckDuckGo's."""
    found = "".join(f'<div class="links_main result__body"><h2>{t}</h2><a href="{u}">{b}</a></div>' for t, u, b in hits)
    return page(f"<html><body>{found}</body></html>")


async def test_b3_web_search_gives_titles_addresses_and_descriptions() -> None:
    hits = [(f"Fjord {n}", f"http://example.com/{n}", f"About the <b>fjord</b> number {n}.") for n in range(5)]
    async with WebServer({"/html/": results(*hits)}) as server:
        search = WebSearchTool(max_results=3, base_url=server.url("/html/"), rate_limit=None)
        text = await search("fjord length")
    asked = parse_qs(server.requests[0].body.decode())
    assert asked["q"] == ["fjord length"]
    assert text.startswith("## Search Results\n\n[Fjord ")
    assert text.count("](http://example.com/") == 3
    assert "About the fjord number" in text


async def test_b3_web_search_says_in_one_line_that_nothing_was_found_or_nobody_answered() -> None:
    async with WebServer({"/none": results(), "/late": Reply(b"x", seconds=30.0)}) as server:
        none = WebSearchTool(base_url=server.url("/none"))
        assert await refused(none, "xyzzy") == "nothing was found for 'xyzzy'; use fewer or other words."
        late = WebSearchTool(base_url=server.url("/late"), seconds=1.0)
        assert "the search engine did not answer" in await refused(late, "fjord")
        nobody = WebSearchTool(base_url="http://127.0.0.1:9/")
        assert "the search engine did not answer" in await refused(nobody, "fjord")
    assert "no search engine 'altavista'; there are brave, " in await refused(WebSearchTool(engine="altavista"), "x")


async def test_b3_searches_take_turns() -> None:
    async with WebServer({"/": results(("Fjord", "http://example.com/", "fjord"))}) as server:
        search = WebSearchTool(base_url=server.url("/"), rate_limit=2.0)
        begun = time.monotonic()
        await asyncio.gather(*(search("fjord") for _ in range(3)))
        assert time.monotonic() - begun >= 1.0


def wiki(request: Request) -> Reply:
    """MediaWiki's API, as far as it is asked."""
    asked = {key: value[0] for key, value in parse_qs(urlsplit(request.path).query).items()}
    assert asked["action"] == "query"
    query: dict[str, Any]
    if asked.get("list") == "search":
        titles = ["Sognefjord", "Fjord"] if "fjord" in asked["srsearch"] else []
        query = {"search": [{"ns": 0, "title": title} for title in titles]}
    else:
        extract = "The longest fjord." + ("" if "exintro" in asked else "\n\n== Geology ==\nOld rock." + " more" * 9000)
        query = {"pages": [{"title": asked["titles"], "extract": extract, "fullurl": "https://wiki.test/Sognefjord"}]}
    return page(json.dumps({"batchcomplete": True, "query": query}), "application/json; charset=utf-8")


async def test_b3_wikipedia_search_gives_the_article_its_address_and_others() -> None:
    async with WebServer({"/w/api.php": wiki}) as server:
        whole = WikipediaSearchTool(
            "fjords/1.0 (me@example.com)", base_url=server.url("/w/api.php"), web=LOOPBACK, max_output_length=2000
        )
        text = await whole("longest fjord")
        assert text.startswith("# Sognefjord\nhttps://wiki.test/Sognefjord\n\nThe longest fjord.\n\n== Geology ==")
        assert text.endswith("(There is more; this is the beginning.)\n\nOther articles: Fjord")
        summary = WikipediaSearchTool(content_type="summary", base_url=server.url("/w/api.php"), web=LOOPBACK)
        assert (await summary("fjord")).split("\n\n")[1:] == ["The longest fjord.", "Other articles: Fjord"]
        assert "no article for 'xyzzy'" in await refused(summary, "xyzzy")
    assert server.requests[0].headers["user-agent"] == "fjords/1.0 (me@example.com)"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (page("<html>"), "does not answer as a MediaWiki API (text/html)"),
        (page("[]", "application/json"), "does not answer as a MediaWiki API (application/json)"),
        (page('{"batchcomplete": true}', "application/json"), "Wikipedia has no article for"),
        (page('{"error": {"info": "too many"}}', "application/json"), "Wikipedia refused: too many"),
        (Reply(b"busy", 429), "answered 429 Too Many Requests"),
    ],
)
async def test_b3_wikipedia_search_says_what_went_wrong(reply: Reply, said: str) -> None:
    async with WebServer({"/": reply}) as server:
        assert said in await refused(WikipediaSearchTool(base_url=server.url("/"), web=LOOPBACK), "fjord")


# ---- ask_user, python, speech_to_text -----------------------------------------------------------------------------


async def test_b3_ask_user_asks_and_waits() -> None:
    asked: list[tuple[str, bool]] = []

    async def ask(prompt: str, hidden: bool) -> str:
        asked.append((prompt, hidden))
        return "blue"

    assert await UserInputTool(ask)(" Which colour?") == "blue"
    assert asked == [("Which colour? ", False)]
    assert "there is nobody to ask" in await refused(UserInputTool(), "Which colour?")


async def test_b3_python_keeps_its_state_and_says_what_a_cell_would_show() -> None:
    python = PythonInterpreterTool(ChildKernel(isolation=Isolation(level="process")))
    try:
        assert await python("x = 6\nprint('set')\nx * 7") == "set\n42"
        assert await python("x = x + 1") == "(no output)"
        assert await python("x") == "7"
        said = await python("print('before')\n1 / 0")
        assert said.startswith("before\n")
        assert "Error in line 2: `1 / 0`: ZeroDivisionError: division by zero" in said
        brief = PythonInterpreterTool(python.sandbox, seconds=2.0)
        assert "was stopped after 2 s" in await brief("while True: pass")
        assert [*await asyncio.gather(python("x"), python("x + 1"))] == ["7", "8"]
        assert "final_answer was called with 7" in await python("final_answer(x)")
    finally:
        await python.sandbox.close()


def spoken(request: Request) -> Reply:
    """OpenAI's transcription endpoint: says what it was sent."""
    assert request.headers["content-type"].startswith("multipart/form-data")
    length = len(request.body)
    return page(
        json.dumps({"text": f"hello, {'bytes of a wave' if b'RIFF' in request.body else length}"}), "application/json"
    )


async def test_b3_speech_to_text_sends_files_of_the_folder_and_of_the_web(tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(b"RIFF....WAVE")
    (tmp_path / "link.wav").symlink_to("/etc/hostname")
    (tmp_path / "long.wav").write_bytes(b"\0" * (MAX_BYTES + 1))
    pages: dict[str, Reply | Callable[[Request], Reply]] = {
        "/v1/audio/transcriptions": spoken,
        "/talk.mp3": Reply(b"RIFF", headers={"Content-Type": "audio/mpeg"}),
        "/page": page("no sound"),
    }
    async with WebServer(pages) as server:
        hear = SpeechToTextTool(folder=tmp_path, api_base=server.url("/v1"), web=LOOPBACK)
        assert await hear("talk.wav") == "hello, bytes of a wave"
        assert b'filename="talk.wav"' in server.requests[0].body
        assert b"whisper-1" in server.requests[0].body
        assert await hear(server.url("/talk.mp3")) == "hello, bytes of a wave"
        assert "is no recording but text/html" in await refused(hear, server.url("/page"))
        assert "more than 25 MB" in await refused(hear, "long.wav")
        assert "can't be read from the workspace" in await refused(hear, "link.wav")
        with pytest.raises(ToolCallError, match="is not the name of a file in the workspace"):
            await hear("../../etc/passwd")
        nowhere = SpeechToTextTool(api_base=server.url("/v1"))
        assert "no folder to look for files in" in await refused(nowhere, "talk.wav")
        server.pages["/v1/audio/transcriptions"] = Reply(b'{"error": {"message": "bad key"}}', 401)
        assert "openai/whisper-1 did not write it down" in await refused(hear, "talk.wav")


# ---- by name ------------------------------------------------------------------------------------------------------


def test_b3_tools_by_name() -> None:
    sandbox = ChildKernel(isolation=Isolation(level="process"))
    web = Web(seconds=3.0)
    made = toolbox_by_name(TOOLBOX, Lent(sandbox=sandbox, web=web))
    assert [tool.name for tool in made] == list(TOOLBOX)
    assert [type(tool).__name__ for tool in made] == list(TOOLBOX.values())
    assert all(tool.facts.parameters["properties"] and tool.facts.description for tool in made)
    assert {tool.web for tool in made if hasattr(tool, "web")} == {web}
    old = toolbox_by_name(["user_input", "python_interpreter", "transcriber"], Lent(sandbox=sandbox))
    assert [tool.name for tool in old] == ["ask_user", "python", "speech_to_text"]
    with pytest.raises(UsageError, match="did you mean 'web_search'"):
        toolbox_by_name(["websearch"])
    with pytest.raises(UsageError, match="python runs code in a sandbox"):
        toolbox_by_name(["python"])


def test_b3_names_that_smolagents_users_expect_are_there() -> None:
    from cellwright import toolbox

    assert toolbox.DuckDuckGoSearchTool is toolbox.WebSearchTool
    for name in toolbox.__all__:
        assert getattr(toolbox, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = toolbox.Nothing


def test_b3_what_is_not_installed_is_said_with_what_to_do() -> None:
    program = (
        "import sys\nsys.modules['ddgs'] = sys.modules['markdownify'] = None\n"
        "from cellwright.errors import CellwrightError\nfrom cellwright.toolbox import toolbox_by_name\n"
        "for name in ['web_search', 'visit_webpage']:\n"
        "    try: toolbox_by_name([name])\n    except CellwrightError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "ToolDefinitionError web_search needs the package ddgs: pip install 'cellwright[toolbox]'",
        "ToolDefinitionError visit_webpage needs the package markdownify: pip install 'cellwright[toolbox]'",
    ]
    assert issubclass(ToolDefinitionError, Exception)


async def test_b3_code_in_a_sandbox_without_network_reads_a_page_through_the_tool() -> None:
    code = "page = visit_webpage(URL)\nfinal_answer(page.splitlines()[0])"
    async with WebServer({"/": page(HTML)}) as server:
        model = ScriptedModel(f"Read.\n```python\n{code.replace('URL', repr(server.url('/')))}\n```")
        tools = toolbox_by_name(["visit_webpage"], Lent(web=LOOPBACK))
        async with CodeAgent(model, tools=tools, sandbox=ChildKernel(), journal=None) as agent:
            run = await agent.run("What is the page about?")
    assert run.answer == "# Fjords of Norway"
    (call,) = run.steps[0].calls
    assert (call.name, call.args, call.error) == ("visit_webpage", (server.url("/"),), None)
    assert "Sogne" in call.result
    assert "visit_webpage(url: str) -> str" in model.asked[0][0].content
