"""What may pass from the sandbox to the person's notebook: a list of mime types, and HTML without scripts.

A script in a trusted notebook can drive the person's whole Jupyter server, so nothing passes that could hold one.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from ..outputs import CellOutput, Clear, Display, Failure, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..outputs import Json, MimeBundle

TEXT_TYPES = {"text/plain", "text/markdown", "text/latex"}
IMAGE_TYPES = {"image/png", "image/jpeg"}
HTML_TYPES = {"text/html", "image/svg+xml"}
_JSON_TYPE = re.compile(r"application/(json|vnd\.plotly\.v1\+json|vnd\.vega(lite)?\.v\d+\+json)\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*\Z")
_ESCAPES = re.compile(r"\x1b(?!\[[0-9;]*m)(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")

_SVG_TAGS = set(
    "svg g path rect circle ellipse line polyline polygon text tspan defs use clipPath linearGradient radialGradient "
    "stop title desc symbol marker mask pattern".split()
)
_SVG_ATTRIBUTES = set(
    "d x y x1 y1 x2 y2 cx cy r rx ry width height viewBox points transform fill fill-opacity fill-rule stroke "
    "stroke-width stroke-linecap stroke-linejoin stroke-dasharray stroke-opacity opacity font-size font-family "
    "font-weight text-anchor clip-path id class offset stop-color stop-opacity gradientUnits gradientTransform "
    "preserveAspectRatio xmlns version dx dy markerWidth markerHeight refX refY orient".split()
)
_STYLES = set(
    "color background-color text-align font-weight font-style font-size font-family width height padding margin "
    "border border-collapse border-color white-space text-decoration vertical-align max-width min-width opacity "
    "display".split()
)


def clean_text(text: str) -> str:
    """`text` without terminal escapes other than colours."""
    return _ESCAPES.sub("", text)


def clean_html(html: str) -> str:
    """`html` without scripts, handlers, frames, forms, style sheets and links that run code."""
    return _cleaner()(html)


@cache
def _cleaner() -> Callable[[str], str]:
    import nh3

    attributes = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
    attributes["*"] = {"style", "class", "title", "align", "colspan", "rowspan", "scope", "border", "valign"}
    attributes |= {tag: _SVG_ATTRIBUTES | {"style"} for tag in _SVG_TAGS}
    cleaner = nh3.Cleaner(
        tags=set(nh3.ALLOWED_TAGS) | _SVG_TAGS | {"section", "progress"},
        attributes=attributes,
        url_schemes={"http", "https", "mailto", "data"},
        # A data: address is only harmless where the browser treats it as an image.
        attribute_filter=_only_image_data,
        filter_style_properties=_STYLES,
        clean_content_tags={"script", "style", "template"},
    )
    return cleaner.clean


def _only_image_data(tag: str, name: str, value: str) -> str | None:
    if value.strip().lower().startswith("data:"):
        is_image = tag == "img" and name == "src" and re.match(r"data:image/(png|jpeg|gif);base64,", value.strip())
        return value if is_image else None
    return value


def clean_bundle(data: Mapping[str, Json]) -> MimeBundle:
    """The parts of a mime bundle that may pass."""
    clean: dict[str, Json] = {}
    for mime, raw in data.items():
        lines = isinstance(raw, list) and all(isinstance(line, str) for line in raw)
        content = "".join(raw) if lines else raw
        if mime in TEXT_TYPES and isinstance(content, str):
            clean[mime] = clean_text(content)
        elif mime in IMAGE_TYPES and isinstance(content, str) and _BASE64.match(content):
            clean[mime] = content
        elif mime in HTML_TYPES and isinstance(content, str):
            clean[mime] = clean_html(content)
        elif _JSON_TYPE.match(mime):
            clean[mime] = content
    return clean


def clean_metadata(metadata: Json, data: MimeBundle) -> MimeBundle:
    """Display metadata of the mime types that passed (sizes of images)."""
    if not isinstance(metadata, dict):
        return {}
    return {mime: item for mime, item in metadata.items() if mime in data and isinstance(item, dict)}


def output(kind: str, content: Mapping[str, Json]) -> CellOutput | None:
    """An iopub message as an output; None when nothing of it may pass.

    Message types: Jupyter messaging, "Messages on the IOPub channel".
    """
    if kind == "stream":
        text = clean_text(str(content.get("text", "")))
        return Stream("stderr", text) if content.get("name") == "stderr" else Stream("stdout", text)
    if kind == "error":
        lines = content.get("traceback")
        return Failure(
            str(content.get("ename", "")),
            clean_text(str(content.get("evalue", ""))),
            tuple(clean_text(str(line)) for line in lines) if isinstance(lines, list) else (),
        )
    if kind == "clear_output":
        return Clear(bool(content.get("wait")))
    if kind in ("display_data", "update_display_data", "execute_result"):
        raw = content.get("data")
        data = clean_bundle(raw) if isinstance(raw, dict) else {}
        if not data:
            return None
        transient = content.get("transient")
        display_id = transient.get("display_id") if isinstance(transient, dict) else None
        return Display(
            data,
            clean_metadata(content.get("metadata"), data),
            is_result=kind == "execute_result",
            display_id=str(display_id) if display_id is not None else None,
            is_update=kind == "update_display_data",
        )
    return None
