"""What passes from the sandbox to the notebook: nothing that could run there."""

from __future__ import annotations

import pytest

from cellwright.outputs import Clear, Display, Failure, Stream
from cellwright.sandbox import relay


def test_only_known_types_pass() -> None:
    given = {
        "text/plain": "t",
        "text/markdown": "m",
        "image/png": "aGk=",
        "application/json": {"a": 1},
        "application/vnd.plotly.v1+json": {"data": []},
        "application/vnd.vegalite.v5+json": {},
        "application/javascript": "alert(1)",
        "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
        "text/x-anything": "x",
    }
    kept = relay.clean_bundle(given)
    assert set(given) - set(kept) == {
        "application/javascript",
        "application/vnd.jupyter.widget-view+json",
        "text/x-anything",
    }


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
        "<iframe src='http://x'></iframe>",
        "<form action='/api'><input></form>",
        "<style>*{display:none}</style>",
        "<svg onload=alert(1)><script>alert(1)</script></svg>",
        "<svg><use href='data:image/svg+xml,x'/></svg>",
        "<meta http-equiv=refresh content='0;url=x'>",
        "<object data=x></object><embed src=x>",
        "<b style='background-image:url(http://x)'>x</b>",
        "<img src='data:image/svg+xml;base64,AAAA'>",
    ],
)
def test_html_that_could_do_harm_is_made_harmless(html: str) -> None:
    clean = relay.clean_html(html).lower()
    for bad in (
        "script",
        "onerror",
        "onload",
        "iframe",
        "form",
        "<style",
        "meta",
        "object",
        "embed",
        "url(",
        "svg+xml",
    ):
        assert bad not in clean, clean


def test_tables_and_images_stay() -> None:
    html = '<table class="dataframe"><tr><td style="text-align: right">1</td></tr></table>'
    assert "<td" in relay.clean_html(html)
    assert "data:image/png" in relay.clean_html('<img src="data:image/png;base64,aGk=">')
    assert "<path" in relay.clean_html('<svg viewBox="0 0 1 1"><path d="M0 0"></path></svg>')


def test_an_image_that_is_no_base64_does_not_pass() -> None:
    assert relay.clean_bundle({"image/png": '"><script>'}) == {}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[2Jgone", "gone"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1b[10Ab", "ab"),
        ("end\x1b", "end"),
    ],
)
def test_escapes_other_than_colours_go(text: str, clean: str) -> None:
    assert relay.clean_text(text) == clean
    assert relay.output("stream", {"name": "stdout", "text": text}) == Stream("stdout", clean)


def test_messages_become_outputs() -> None:
    assert relay.output("stream", {"name": "stderr", "text": "x"}) == Stream("stderr", "x")
    assert relay.output("error", {"ename": "E", "evalue": "\x1b[2Jv", "traceback": ["t"]}) == Failure("E", "v", ("t",))
    assert relay.output("clear_output", {"wait": True}) == Clear(wait=True)
    shown = relay.output("display_data", {"data": {"text/plain": "x"}, "transient": {"display_id": "d"}})
    assert shown == Display({"text/plain": "x"}, display_id="d")
    result = relay.output("execute_result", {"data": {"text/plain": ["a", "b"]}})
    assert result == Display({"text/plain": "ab"}, is_result=True)


@pytest.mark.parametrize("kind", ["comm_open", "comm_msg", "execute_input", "nonsense"])
def test_other_messages_do_not_pass(kind: str) -> None:
    assert relay.output(kind, {"data": {"text/plain": "x"}}) is None


@pytest.mark.parametrize("kind", ["stream", "error", "clear_output", "display_data", "execute_result"])
@pytest.mark.parametrize("content", [{}, {"data": 1, "text": None, "traceback": 3, "metadata": "x", "transient": 5}])
def test_malformed_messages_break_nothing(kind: str, content: dict[str, object]) -> None:
    relay.output(kind, content)
