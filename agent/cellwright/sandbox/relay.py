"""What may pass from the sandbox to the person's notebook: a list of mime types, and of each what can do no harm.

A script in a trusted notebook can drive the person's whole Jupyter server, so nothing passes that could hold one. A
picture that is loaded from elsewhere carries data out of a sandbox without network, so nothing passes that loads any.
`markup` cleans text that is a language of its own; this module decides what is shown to it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from ..outputs import CellOutput, Clear, Display, Failure, Stream
from .markup import clean_html, clean_latex, clean_markdown, clean_svg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..outputs import Json, MimeBundle

IMAGE_TYPES = {"image/png", "image/jpeg"}
DEPTH = 100
"""Levels of lists and dicts in each other; whoever stores or shows deeper ones fails."""
ERROR_CHARACTERS = 20_000
"""Of an exception's text, and of each line of its traceback."""
ERROR_LINES = 200
WORD_CHARACTERS = 200
"""Of an exception's name, of a display's id."""
MATCHES = 1_000
PAYLOADS = 20
LARGEST_SIDE = 10_000
"""Pixels, as an image's metadata may ask for them."""

TEXT_TYPES: Mapping[str, Callable[[str], str]] = {
    "text/markdown": clean_markdown,
    "text/latex": clean_latex,
    "text/html": clean_html,
    "image/svg+xml": clean_svg,
}
_PARSED = {"application/json", *TEXT_TYPES}
_FIGURE_TYPE = re.compile(r"application/vnd\.(plotly\.v1|vegalite\.v\d{1,2})\+json\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*\Z")

_SEQUENCE = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
_REST = r"\x1b[ -/]*[0-~]?|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]"
_COLOUR = r"\x1b\[[0-9;]{0,40}m"
_MOVE = r"\x1b\[\d{0,4}[ABK]"
_ALL_BUT_COLOURS = re.compile(rf"(?P<kept>{_COLOUR})|{_SEQUENCE}|{_STRING}|{_REST}|\x08")
_ALL_BUT_MOVES = re.compile(rf"(?P<kept>{_COLOUR}|{_MOVE})|{_SEQUENCE}|{_STRING}|{_REST}")
_NO_CHARACTER = re.compile("[\ud800-\udfff]")

# What loads something, or leads away, in Plotly's and Vega-Lite's JSON; relative addresses are the Jupyter server's.
_LOADING_KEYS = {"url", "href", "usermeta", "topojsonURL", "plotlyServerURL"}
_ADDRESS = re.compile(
    r"[\s\x00-\x1f]*(?:[a-z][a-z0-9+.-]*:)?(?://|\\)|[\s\x00-\x1f]*(?:javascript|vbscript|data|blob|file):", re.I
)
_IMAGE_DATA = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*\Z")


def clean_text(text: str) -> str:
    """`text` without terminal escapes other than colours, control characters, and halves of characters."""
    return _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", _ALL_BUT_COLOURS.sub(_kept, text))


def clean_stream(text: str) -> str:
    """As `clean_text`, but what progress bars need stays, for `terminal` to follow: back, up, down, erase."""
    return _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", _ALL_BUT_MOVES.sub(_kept, text))


def _kept(found: re.Match[str]) -> str:
    return found["kept"] or ""


def clean_json(value: Json, depth: int = DEPTH) -> Json:
    """`value` as JSON that can be stored and sent on: no infinite numbers, no halves of characters.

    Raises `ValueError` when it is deeper than `depth`.
    """
    if isinstance(value, str):
        return _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list):
        if not depth:
            raise ValueError(f"more than {DEPTH} levels of lists and dicts")
        if isinstance(value, list):
            return [clean_json(item, depth - 1) for item in value]
        return {clean_json(str(key)): clean_json(item, depth - 1) for key, item in value.items()}
    return value


def clean_figure(value: Json) -> Json:
    """The JSON of a figure without what would be loaded from elsewhere when it is drawn."""
    if isinstance(value, dict):
        return {
            key: item if key == "$schema" else clean_figure(item)
            for key, item in value.items()
            if key not in _LOADING_KEYS
        }
    if isinstance(value, list):
        return [clean_figure(item) for item in value]
    if isinstance(value, str) and _ADDRESS.match(value) and not _IMAGE_DATA.match(value):
        return ""
    return value


def clean_bundle(data: Mapping[str, Json]) -> MimeBundle:
    """The parts of a mime bundle that may pass."""
    clean: dict[str, Json] = {}
    for mime, raw in data.items():
        content = "".join(raw) if _is_lines(raw) else raw
        try:
            kept = _clean(mime, content)
        except ValueError:
            continue
        if kept is not None:
            clean[mime] = kept
    if not clean and (known := sorted(set(data) & _PARSED)):
        types = ", ".join(known)
        return {"text/plain": f"(Not shown, because it is too large or holds nothing that may be shown: {types}.)"}
    return clean


def _is_lines(raw: Json) -> bool:
    return isinstance(raw, list) and all(isinstance(line, str) for line in raw)


def _clean(mime: str, content: Json) -> Json:
    """One part; None when it may not pass. Raises `ValueError`, too, for what is too deep or too much."""
    if mime == "application/json":
        return clean_json(content)
    if _FIGURE_TYPE.match(mime):
        return clean_figure(clean_json(content)) if isinstance(content, dict) else None
    if not isinstance(content, str):
        return None
    if mime == "text/plain":
        return clean_text(content)
    if cleaner := TEXT_TYPES.get(mime):
        return cleaner(clean_text(content)) or None
    return content if mime in IMAGE_TYPES and _BASE64.match(content) else None


def clean_metadata(metadata: Json, data: MimeBundle) -> MimeBundle:
    """Display metadata of what passed: the size of images, whether JSON is unfolded."""
    if not isinstance(metadata, dict):
        return {}
    found = {mime: item for mime, item in metadata.items() if mime in data and isinstance(item, dict)}
    kept = {
        mime: {key: value for key, value in item.items() if _is_harmless(key, value)} for mime, item in found.items()
    }
    return {mime: item for mime, item in kept.items() if item}


def _is_harmless(key: str, value: Json) -> bool:
    if key in ("width", "height"):
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LARGEST_SIDE
    if key == "needs_background":
        return value in ("light", "dark")
    return key == "expanded" and isinstance(value, bool)


def output(kind: str, content: Mapping[str, Json]) -> CellOutput | None:
    """An iopub message as an output; None when nothing of it may pass.

    Message types: Jupyter messaging, "Messages on the IOPub channel". The text of a `Stream` still goes up and down;
    `Cell` follows it.
    """
    if kind == "stream":
        text = clean_stream(as_text(content.get("text")))
        return Stream("stderr", text) if content.get("name") == "stderr" else Stream("stdout", text)
    if kind == "error":
        lines = content.get("traceback")
        return Failure(
            word(content.get("ename")),
            _shortened(content.get("evalue")),
            tuple(_shortened(line) for line in lines[-ERROR_LINES:]) if isinstance(lines, list) else (),
        )
    if kind == "clear_output":
        return Clear(content.get("wait") is True)
    if kind in ("display_data", "update_display_data", "execute_result"):
        return _display(kind, content)
    return None


def _display(kind: str, content: Mapping[str, Json]) -> Display | None:
    raw = content.get("data")
    data = clean_bundle(raw) if isinstance(raw, dict) else {}
    if not data:
        return None
    transient = content.get("transient")
    display_id = word(transient.get("display_id")) if isinstance(transient, dict) else ""
    return Display(
        data,
        clean_metadata(content.get("metadata"), data),
        is_result=kind == "execute_result",
        display_id=display_id or None,
        is_update=kind == "update_display_data",
    )


def clean_payload(payload: Json) -> list[dict[str, Json]]:
    """What a cell asks of the front end, besides showing things: a text for the next cell, a text in a pager.

    Never to open a file or to quit (Jupyter messaging, "Payloads").
    """
    kept: list[dict[str, Json]] = []
    for item in payload[:PAYLOADS] if isinstance(payload, list) else ():
        source = item.get("source") if isinstance(item, dict) else None
        if source == "set_next_input":
            text, replace = clean_text(as_text(item.get("text"))), item.get("replace") is True
            kept.append({"source": source, "text": text, "replace": replace})
        elif source == "page" and isinstance(item.get("data"), dict):
            kept.append({"source": source, "data": dict(clean_bundle(item["data"])), "start": 0})
    return kept


def clean_completion(reply: Mapping[str, Json]) -> Mapping[str, Json]:
    """A `complete_reply` with names to choose from; empty when it is none."""
    start, end, matches = (reply.get(key) for key in ("cursor_start", "cursor_end", "matches"))
    if type(start) is not int or type(end) is not int or not isinstance(matches, list):
        return {}
    words = [word(match) for match in matches[:MATCHES]]
    return {"status": "ok", "matches": words, "cursor_start": start, "cursor_end": end, "metadata": {}}


def clean_inspection(reply: Mapping[str, Json]) -> Mapping[str, Json]:
    """An `inspect_reply` with what may be shown of it; empty when it is none."""
    data = reply.get("data")
    if reply.get("status") != "ok" or not isinstance(data, dict):
        return {}
    return {"status": "ok", "found": reply.get("found") is True, "data": dict(clean_bundle(data)), "metadata": {}}


def word(value: Json, limit: int = WORD_CHARACTERS) -> str:
    """`value` as a short text, empty when it is none."""
    return clean_text(as_text(value)[:limit])


def as_text(value: Json) -> str:
    """`value` if it is text; turning anything else into text may fail, or never end."""
    return value if isinstance(value, str) else ""


def _shortened(value: Json) -> str:
    text = as_text(value)
    more = len(text) - ERROR_CHARACTERS
    return clean_text(text if more <= 0 else f"{text[:ERROR_CHARACTERS]}… {more:,} more characters")
