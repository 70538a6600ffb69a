"""What passes from the sandbox to the notebook: nothing that could run there."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import StringIO
from xml.dom.minidom import parseString

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cellwright.outputs import Clear, Display, Failure, Stream
from cellwright.sandbox import markup, relay


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
    clean = markup.clean_html(html).lower()
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
    assert "<td" in markup.clean_html(html)
    assert "data:image/png" in markup.clean_html('<img src="data:image/png;base64,aGk=">')
    assert "<path" in markup.clean_html('<svg viewBox="0 0 1 1"><path d="M0 0"></path></svg>')


def test_an_image_that_is_no_base64_does_not_pass() -> None:
    assert relay.clean_bundle({"image/png": '"><script>'}) == {}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[2Jgone", "gone"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("end\x1b", "end"),
        ("\x9b2Jgone\x9b", "gone"),
        ("\x9d0;title\x9cx", "x"),
        ("\x90dcs\x1b\\x\x9b31mno", "xno"),
        ("\x1bc\x1b(0a\x1b[?25lb\x07\x00\x7f", "ab"),
        ("\x1b[3\x1b[2J1m", "31m"),
        ("half \ud800 of one", "half \ufffd of one"),
        ("kept\t\r\n", "kept\t\r\n"),
    ],
)
def test_escapes_other_than_colours_go(text: str, clean: str) -> None:
    assert relay.clean_text(text) == clean
    assert relay.output("stream", {"name": "stdout", "text": text}) == Stream("stdout", clean)
    failure = relay.output("error", {"ename": text, "evalue": text, "traceback": [text]})
    assert failure == Failure(clean, clean, (clean,))
    shown = relay.output("display_data", {"data": {"text/plain": text}, "transient": {"display_id": text}})
    assert shown == Display({"text/plain": clean}, display_id=clean)


def test_a_stream_still_moves_for_the_terminal_to_follow() -> None:
    moved = "a\x1b[1Ab\x1b[2K\b\x1b[Bc"
    assert relay.output("stream", {"name": "stdout", "text": moved}) == Stream("stdout", moved)
    assert relay.clean_text(moved) == "abc"


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


# ---- nothing acts, loads, or covers the page -----------------------------------------------------------------------

TAGS = set(
    "script style iframe object embed form input button meta link base template foreignobject animate set math".split()
)
CLOBBERED = ("jp-", "lm-", "cm-", "p-", "cw-")


class Harm(HTMLParser):
    """Collects what acts, loads or clobbers in a piece of HTML, as a parser of another make reads it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in TAGS:
            self.found.append(tag)
        for name, raw in attrs:
            value = re.sub(r"[\s\x00-\x20]", "", raw or "").lower()
            is_data = re.match(r"data:image/(png|jpeg|gif);base64,", value) and tag in ("img", "image")
            is_link = tag == "a" and value.startswith(("http:", "https:", "mailto:"))
            near = value.startswith("#sandbox-")
            bad = (
                (name.startswith(("on", "data-")) or name in ("srcset", "action", "ping", "name", "srcdoc"))
                or (name in ("href", "src", "xlink:href") and not (is_data or is_link or near))
                or (name == "id" and not value.startswith("sandbox-"))
                or (name == "class" and any(word.startswith(CLOBBERED) for word in (raw or "").lower().split()))
                or ("url(" in value and "url(#sandbox-" not in value)
                or (name == "style" and re.search(r"position|expression|@|\\\\|javascript|-\d+px", value))
            )
            if bad:
                self.found.append(f"{tag} {name}={raw}")


PIECES = [
    *("<", ">", "/", "'", '"', "=", " ", "&", ";", "--", "!", "]]>", "<!--", "<![CDATA[", "x", "\x00", "\n"),
    *(
        "<script>",
        "</script>",
        "<svg",
        "<style>",
        "</style>",
        "<math><mi>",
        "<img src=",
        "<a href=",
        "<use href=",
        "<p",
    ),
    *("<title>", "</title>", "<noscript>", "<textarea>", "<foreignObject>", "<desc>", "<table>", "<animate ", "<set "),
    *("onerror=alert(1)", "onload=", "javascript:alert(1)", "java\tscript:x", "data:text/html,x", "https://x", "#near"),
    *(
        "style=",
        "class=",
        "id=",
        "srcdoc=",
        "xlink:href=",
        "jp-Dialog",
        "position:fixed",
        "fill:url(http://x)",
        "&#106;",
    ),
    *("background:url(x)", "color:red", "expression(x)", "\\75rl(x)", "fill:url(#near)", "data:image/png;base64,aGk="),
]
MARKUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=25).map("".join)


@given(MARKUP)
@example("<svg><p><style><a id='</style><img src=1 onerror=alert(1)>'>")
@example("<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>")
@example("<svg></p><title><a id='</title><img src=x onerror=alert(1)>'>")
@example("<a href=' java&#x0A;script:alert(1)'>x</a><div class='jp-Dialog x' id=main>y</div>")
@example("<svg><a xlink:href='javascript:alert(1)'><animate attributeName=href to=javascript:x></svg>")
def test_whatever_is_given_as_html_comes_out_harmless(html: str) -> None:
    clean = markup.clean_html(html)
    assert Harm(clean).found == [], clean
    rel = ' rel="noopener noreferrer"'  # added to links, here or there
    assert markup.clean_html(clean).replace(rel, "") == clean.replace(rel, "")
    assert Harm(markup.clean_svg("<svg>" + html)).found == []


@given(st.binary(max_size=200) | MARKUP.map(str.encode))
def test_whatever_bytes_are_given_every_type_comes_out_harmless(data: bytes) -> None:
    text = data.decode("latin-1")
    kept = relay.clean_bundle(
        dict.fromkeys([*relay.TEXT_TYPES, "text/plain", "application/json", "text/x-other"], text)
    )
    assert Harm(str(kept.get("text/html", ""))).found == []
    for mime in ("text/markdown", "text/latex"):
        assert not re.search(r"<[a-zA-Z/!?]", str(kept.get(mime, ""))), kept


@given(
    st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=60)
    | st.text(alphabet="\x1b[]0;mAJ\x9b\x07\\a")
)
def test_cleaning_text_twice_is_cleaning_it_once(text: str) -> None:
    clean = relay.clean_text(text)
    assert relay.clean_text(clean) == clean
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\ud800-\udfff]", clean)
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", clean)


@pytest.mark.parametrize(
    "html", ["<div>" * 30_000, "<b " + " ".join(f"a{n}=1" for n in range(210_000)) + ">", "<p>" + "x" * 9_000_000]
)
def test_html_that_keeps_a_parser_busy_does_not_pass(html: str) -> None:
    kept = relay.clean_bundle({"text/html": html, "text/plain": "table"})
    assert kept == {"text/plain": "table"}
    assert "text/html" in str(relay.clean_bundle({"text/html": html})["text/plain"])


def test_a_plot_as_svg_is_still_one() -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2, 3], label="line")
    axes.imshow([[1, 2], [3, 4]])
    axes.legend()
    file = StringIO()
    FigureCanvasSVG(figure).print_svg(file)  # type: ignore[no-untyped-call]
    clean = markup.clean_svg(file.getvalue())
    parseString(clean)
    assert clean.count("<use") == file.getvalue().count("<use")
    assert "stroke:#1f77b4" in clean.replace(" ", "")
    assert Harm(clean).found == []


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))",
        "[x]( java\nscript:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x][r]\n\n[r]: javascript:alert(1)",
        "[r]:\n  <javascript:alert(1)>",
        "<javascript:alert(1)>",
        "<img src=x onerror=alert(1)>",
        "![x](https://far.example/?secret)",
        "![x][far]\n\n[far]: https://far.example/?secret",
        "![![x](data:image/png;base64,aGk=)](https://far.example)",
        "[x](/api/kernels)",
        "$\\href{javascript:alert(1)}{x}$ $\\\\href{x}$ $\\require{html}\\cssId{main}{x}$ $\\unicode{x}$",
    ],
)
def test_markdown_that_acts_or_loads_is_broken(text: str) -> None:
    import mistune

    clean = str(relay.clean_bundle({"text/markdown": text})["text/markdown"])
    page = str(mistune.html(clean))
    assert not re.search(r"href=[\"'](?!https?:|mailto:|#)", page), page
    assert not re.search(r"<img[^>]+src=[\"'](?!data:image/)", page), page
    assert "onerror" not in page or "<img" not in page
    assert not re.search(r"\\+(href|require|cssId|unicode)", clean)
    assert relay.clean_bundle({"text/markdown": clean}) == {"text/markdown": clean}


@pytest.mark.parametrize(
    "text",
    [
        "# Title\n\n- *a* **b** `a < b`\n\n| a | b |\n|---|---|\n| 1 | 2 |",
        "[link](https://example.org/a?b=c#d) and [mail](mailto:x@example.org) and [near](#title)",
        "![dot](data:image/png;base64,aGk=)",
        "$\\frac{1}{2} \\le x$, a < b",
    ],
)
def test_other_markdown_stays_as_it_is(text: str) -> None:
    assert relay.clean_bundle({"text/markdown": text}) == {"text/markdown": text}


def test_latex_that_acts_is_broken_and_formulas_stay() -> None:
    kept = relay.clean_bundle({"text/latex": r"$\href{javascript:x}{y} \frac{a}{b} <script>$"})
    assert kept["text/latex"] == r"$href{javascript:x}{y} \frac{a}{b} < script>$"


def test_figures_load_nothing() -> None:
    chart = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": "Sales: 2020 // all",
        "data": {"url": "/api/contents", "values": [{"a": 1}]},
        "usermeta": {"embedOptions": {"patch": "https://far.example"}},
        "encoding": {"href": {"field": "a"}, "url": {"field": "a"}, "x": {"field": "a"}},
    }
    assert relay.clean_bundle({"application/vnd.vegalite.v5+json": chart})["application/vnd.vegalite.v5+json"] == {
        "$schema": chart["$schema"],
        "title": chart["title"],
        "data": {"values": [{"a": 1}]},
        "encoding": {"x": {"field": "a"}},
    }
    images = [
        {"source": address}
        for address in ("https://far.example", " //far", "JavaScript:x", "data:image/png;base64,aGk=")
    ]
    plot = {"data": [{"y": [1, 2]}], "layout": {"images": images}}
    kept = relay.clean_bundle({"application/vnd.plotly.v1+json": plot})["application/vnd.plotly.v1+json"]
    assert [image["source"] for image in kept["layout"]["images"]] == ["", "", "", "data:image/png;base64,aGk="]
    assert kept["data"] == [{"y": [1, 2]}]


def test_json_that_nobody_could_store_is_not_passed() -> None:
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    assert "application/json" not in relay.clean_bundle({"application/json": deep})
    kept = relay.clean_bundle({"application/json": {"a\ud800": [float("inf"), "b\udfff", True, None]}})
    assert kept["application/json"] == {"a\ufffd": [None, "b\ufffd", True, None]}


def test_metadata_holds_sizes_and_nothing_else() -> None:
    data = {"text/html": "x", "image/png": "aGk=", "application/json": {}}
    given = {
        "text/html": {"isolated": True},
        "image/png": {"width": 10, "height": "10", "needs_background": "dark", "x": 1},
        "application/json": {"expanded": True},
        "text/x-other": {"width": 1},
        "isolated": True,
    }
    kept = {"image/png": {"width": 10, "needs_background": "dark"}, "application/json": {"expanded": True}}
    assert relay.clean_metadata(given, data) == kept


def test_replies_to_completion_and_inspection_are_data() -> None:
    reply = {"matches": ["a", 5, "\x1b[2Jb"], "cursor_start": 0, "cursor_end": 1, "metadata": {"x": "y"}}
    assert relay.clean_completion(reply)["matches"] == ["a", "", "b"]
    assert relay.clean_completion({**reply, "cursor_start": "0"}) == {}
    assert relay.clean_completion({}) == relay.clean_inspection({}) == {}
    found = {"status": "ok", "found": True, "data": {"text/html": "<script>1</script><b>x</b>"}}
    assert relay.clean_inspection(found)["data"] == {"text/html": "<b>x</b>"}
