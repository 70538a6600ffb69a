"""From what code and models wrote to HTML that may be shown.

Nothing that comes in is trusted: thoughts, output, errors and tasks may hold markup, made by a model or found on a web
page. So every function here returns HTML that is harmless by itself: text is escaped, markup is cut down to a list of
tags that can only lay out text and tables. Pictures are shown only when their bytes are in the document: a picture that
is fetched from elsewhere would carry data out. Terminal escapes are carried out or dropped, never passed on.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from typing import TYPE_CHECKING

import nh3

from cellwright.outputs import CellOutput, Clear, Display, Failure, Json, MimeBundle, Stream

if TYPE_CHECKING:
    import mistune
    from pygments.formatter import Formatter
    from pygments.lexer import Lexer

TEXT_LIMIT = 20_000
"""Characters of one text output that are shown; the journal has all."""

MONO = "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0"
"""Inline style of a `<pre>`: front ends that drop style sheets show it in their text font otherwise."""

_IMAGE_STARTS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8"}
_RICHEST_FIRST = (
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "image/gif",
    "text/latex",
    "application/json",
    "text/plain",
)


# ---- text as a terminal shows it ------------------------------------------------------------------------------------

# Control sequences, operating system commands (titles, links), other escapes; at the end also an unfinished one.
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_0-9=>]|\[?[0-?]*$|\][^\x07\x1b]*$)"
)
_ERASE = re.compile(r"\x1b\[[012]?K")
_CONTROL = re.compile(r"[\x00-\x07\x0b-\x1a\x1c-\x1f\x7f-\x9f]")
_MOVE = re.compile(r"([\r\b\x0b])")
_LINE_LIMIT = 4096


def terminal_text(text: str) -> str:
    """`text` without escapes, carriage returns and backspaces carried out: what a terminal would show in the end."""
    return "\n".join(_terminal_line(line) for line in text.split("\n"))


def _terminal_line(line: str) -> str:
    # "\x0b" (vertical tab, never meant in output) stands for "erase to the end of the line" from here on.
    line = _ESCAPE.sub("", _ERASE.sub("\x0b", line.replace("\x0b", "")))
    if not _MOVE.search(line):
        return _CONTROL.sub("", line)
    shown, column = "", 0
    for piece in _MOVE.split(line):
        if piece == "\r":
            column = 0
        elif piece == "\b":
            column = max(0, column - 1)
        elif piece == "\x0b":
            shown = shown[:column]
        else:
            written = _CONTROL.sub("", piece)
            shown = shown[:column].ljust(column) + written + shown[column + len(written) :]
            column += len(written)
    return shown


_HIDDEN = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}
_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\N{REPLACEMENT CHARACTER}")


def visible_code(code: str) -> str:
    """Code in which nothing hides: control characters, and those that turn the reading direction, are made visible."""
    return code.replace("\r\n", "\n").translate(_HIDDEN | _TURNING)


def appended(text: str, piece: int) -> tuple[int, str]:
    """How what is shown changed when the last `piece` characters of `text` came: characters to drop, then to add."""
    end = len(text) - piece
    # Only the last line can change. A progress bar can make it endless: then its last few redraws decide.
    start = text.rfind("\n", 0, end) + 1
    if end - start > _LINE_LIMIT:
        start = max(start, text.find("\r", end - _LINE_LIMIT, end))
    before, after = terminal_text(text[start:end]), terminal_text(text[start:])
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    return len(before) - same, after[same:]


def clip(text: str, limit: int = TEXT_LIMIT) -> str:
    """Head and tail of a text that is longer than `limit` characters, with a line that says how much is missing."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit * 2 // 3], text[-limit // 3 :]
    missing = len(text) - len(head) - len(tail)
    return f"{head}\n… {missing:,} characters are not shown here; the journal has them …\n{tail}"


# ---- fragments ------------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text for HTML. A lone dollar keeps MathJax from setting `$1 of $2` as a formula in JupyterLab and nbconvert."""
    return escape(terminal_text(text)).replace("$", "<span>$</span>")


def text_html(text: str) -> str:
    """Text, in the typeface of code."""
    return f'<pre style="{MONO}">{escape(clip(terminal_text(text)))}</pre>'


def code_html(code: str) -> str:
    """Python, highlighted with the classes that JupyterLab and nbconvert ship colours for."""
    from pygments import highlight

    lexer, formatter = _pygments()
    return highlight(clip(visible_code(code)), lexer, formatter)


def markdown_html(text: str) -> str:
    """Markdown; raw HTML in it is shown as text."""
    return safe_html(str(_markdown()(clip(terminal_text(text)))))


def safe_html(html: str) -> str:
    """Markup cut down to what lays out text and tables: no scripts, handlers, forms, classes, far pictures."""
    return nh3.clean(
        _CONTROL.sub("", html.replace("\x1b", "")),
        tags=_TAGS,
        attributes={"*": {"style", "title"}, **_ATTRIBUTES},
        allowed_classes={"table": {"dataframe"}},
        attribute_filter=_keep_attribute,
        filter_style_properties=_STYLES,
        url_schemes={"http", "https", "mailto", "data"},
    )


def output_html(output: CellOutput, code: str = "") -> str:
    """One output of a cell. `code` is the cell: an error shows its failing line."""
    match output:
        case Stream():
            return text_html(output.text)
        case Display():
            return bundle_html(output.data, output.metadata)
        case Failure():
            return failure_html(output, code)
        case Clear():
            return ""


def bundle_html(data: MimeBundle, metadata: MimeBundle | None = None) -> str:
    """The richest form in a mime bundle that can be shown safely."""
    for mime in _RICHEST_FIRST:
        if mime in data and (html := _MIME_HTML[mime](mime, data[mime], (metadata or {}).get(mime))):
            return html
    return ""


def failure_html(failure: Failure, code: str = "") -> str:
    """An error: its message and the failing line; the traceback is folded."""
    message = f'<div style="{MONO}"><b>{escaped(failure.ename)}</b>: {escaped(clip(failure.evalue, 2000))}</div>'
    line = failing_line(failure, code)
    where = f'<pre style="{MONO}">{escape(line)}</pre>' if line else ""
    if not failure.traceback:
        return message + where
    trace = text_html("\n".join(failure.traceback))
    return f"{message}{where}<details><summary>Traceback</summary>{trace}</details>"


def failing_line(failure: Failure, code: str) -> str:
    """`line 3: x = 1 / 0`, where the line is known."""
    lines = code.splitlines()
    if failure.line is None or not 0 < failure.line <= len(lines):
        return ""
    return f"line {failure.line}: {visible_code(lines[failure.line - 1]).strip()}"


# ---- mime types -----------------------------------------------------------------------------------------------------


def _html(_mime: str, data: Json, _metadata: Json) -> str:
    html = safe_html(_joined(data))
    # What is left of a script (plotly, altair) is an empty box: then the next form is better.
    return html if re.search(r">[^<\s]|^[^<\s]|<img", html) else ""


def _image(mime: str, data: Json, metadata: Json) -> str:
    try:
        raw = base64.b64decode("".join(_joined(data).split()), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return _img(mime, raw, metadata) if raw.startswith(_IMAGE_STARTS[mime]) else ""


def _svg(mime: str, data: Json, metadata: Json) -> str:
    # As a picture an SVG can't run scripts nor fetch anything; put into the page it could do both.
    text = _joined(data)
    return _img(mime, text.encode(), metadata) if "<svg" in text else ""


def _img(mime: str, raw: bytes, metadata: Json) -> str:
    size = ""
    if isinstance(metadata, Mapping):
        size = "".join(
            f' {side}="{int(value)}"'
            for side in ("width", "height")
            if isinstance(value := metadata.get(side), int | float) and 0 < value < 10_000
        )
    encoded = base64.b64encode(raw).decode()
    return f'<img alt="picture made by the code" style="max-width:100%"{size} src="data:{mime};base64,{encoded}">'


def _json(_mime: str, data: Json, _metadata: Json) -> str:
    return text_html(json.dumps(data, indent=1, ensure_ascii=False, default=str))


_MIME_HTML: Mapping[str, Callable[[str, Json, Json], str]] = {
    "text/html": _html,
    "text/markdown": lambda _mime, data, _metadata: markdown_html(_joined(data)),
    "image/svg+xml": _svg,
    **dict.fromkeys(_IMAGE_STARTS, _image),
    "text/latex": lambda _mime, data, _metadata: text_html(_joined(data)),
    "application/json": _json,
    "text/plain": lambda _mime, data, _metadata: text_html(_joined(data)),
}


def _joined(data: Json) -> str:
    """Text of a mime type; nbformat allows a list of lines."""
    return "".join(map(str, data)) if isinstance(data, list) else str(data)


# ---- what may stay in markup ----------------------------------------------------------------------------------------

_TAGS = set(
    "a abbr b blockquote br caption center cite code col colgroup dd del details dfn div dl dt em figcaption figure "
    "h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strike strong sub summary sup table tbody "
    "td tfoot th thead tr tt u ul var wbr".split()
)
_ATTRIBUTES = {
    "a": {"href"},
    "col": {"span"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "table": {"border"},
    "td": {"colspan", "rowspan", "align", "valign"},
    "th": {"colspan", "rowspan", "align", "valign", "scope"},
}
# Nothing here can move an element over another one, or fetch: no position, margin, transform, background image.
_STYLES = set(
    "background-color border border-bottom border-collapse border-color border-left border-right border-spacing "
    "border-style border-top border-width color font-family font-size font-style font-weight height max-height "
    "max-width min-width padding padding-bottom padding-left padding-right padding-top text-align text-decoration "
    "vertical-align white-space width".split()
)
_NEAR_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*\Z")


def _keep_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "src":
        return value if _NEAR_IMAGE.match(value) else None
    if name == "href" and value.strip().lower().startswith("data:"):
        return None
    return value


@cache
def _pygments() -> tuple[Lexer, Formatter[str]]:
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    return PythonLexer(), HtmlFormatter(cssclass="highlight", prestyles="font-family:monospace;margin:4px 0")


@cache
def _markdown() -> mistune.Markdown:
    import mistune

    return mistune.create_markdown(escape=True, plugins=["table", "strikethrough"])
