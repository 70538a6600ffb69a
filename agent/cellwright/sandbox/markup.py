"""HTML, SVG, Markdown and LaTeX from the sandbox, made harmless for a page that trusts what it shows.

HTML goes through nh3, a parser that keeps what is listed here. Markdown and LaTeX are rendered by the page itself, in
ways that differ from page to page, so what could become a tag, an address or a command that acts is broken in the text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TAGS = 20_000
"""Of HTML. Parsers need time that grows with the square of it: a second for so many that are never closed."""
HTML_CHARACTERS = 8 << 20
"""Of HTML, pictures within it included."""
SPACES = 200_000
"""Of HTML: as many attributes in one tag cost some seconds."""

_SVG_TAGS = set(
    "svg g path rect circle ellipse line polyline polygon text tspan defs use clipPath linearGradient radialGradient "
    "stop symbol marker mask pattern image".split()
)
_SVG_ATTRIBUTES = set(
    "d x y x1 y1 x2 y2 cx cy r rx ry width height viewBox points transform fill fill-opacity fill-rule stroke "
    "stroke-width stroke-linecap stroke-linejoin stroke-dasharray stroke-dashoffset stroke-miterlimit stroke-opacity "
    "opacity font-size font-family font-weight font-style text-anchor dominant-baseline clip-path clip-rule id class "
    "offset stop-color stop-opacity gradientUnits gradientTransform clipPathUnits preserveAspectRatio xmlns xlink "
    "version dx dy markerWidth markerHeight marker-start marker-mid marker-end refX refY orient href style".split()
)
_STYLES = set(
    "color background-color text-align font font-weight font-style font-size font-family width height padding margin "
    "border border-collapse border-color white-space text-decoration vertical-align max-width min-width opacity "
    "display fill fill-opacity fill-rule stroke stroke-width stroke-linecap stroke-linejoin stroke-dasharray "
    "stroke-dashoffset stroke-miterlimit stroke-opacity stop-color stop-opacity text-anchor clip-path line-height "
    "border-top border-bottom border-left border-right padding-left padding-right padding-top padding-bottom".split()
)
_REMOVED_WHOLE = {
    "script",
    "style",
    "template",
    "title",
    "desc",
    "metadata",
    "noscript",
    "iframe",
    "math",
    "foreignObject",
}
_IMAGE_DATA = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*\Z")
_FAR_LINK = re.compile(r"(?:https?://|mailto:)[^\s<>\"'\\]*\Z", re.IGNORECASE)
_NEAR_LINK = re.compile(r"#([\w.:-]+)\Z")
_NEAR_URL = re.compile(r"url\(\s*(['\"]?)#([\w.:-]+)\1\s*\)")
# Loads or runs something, hides what it says, or moves itself over other parts of the page.
_BAD_STYLE = re.compile(r"\\|url\s*\(|expression|image|@|var\s*\(|attr\s*\(|/\*|-\d|-\.|calc", re.IGNORECASE)
# Classes that JupyterLab, its libraries and our own view give a meaning to: a dialog over the whole page, for one.
_BAD_CLASS = re.compile(r"(?:jp|lm|p|cm|bp\d*|cw|mod|codemirror|mathjax|mjx|jupyter|fa)(?:[-_]|\Z)", re.IGNORECASE)
_ID_PREFIX = "sandbox-"


def clean_html(html: str) -> str:
    """`html` without scripts, handlers, frames, forms, style sheets, and addresses that run code or load anything.

    Raises `ValueError` for so much of it that a parser would be busy for seconds.
    """
    _check_size(html)
    clean = _html_cleaner()(html)
    if "<svg" in clean and not _is_same(_html_cleaner()(clean), clean):
        # What reads differently the second time could read differently in the page. It takes SVG in HTML to do that.
        return _plain_html_cleaner()(clean)
    return clean


def clean_svg(svg: str) -> str:
    """`svg` with its shapes and texts only; empty when it has none. Raises `ValueError` like `clean_html`."""
    _check_size(svg)
    clean = _svg_cleaner()(svg).strip()
    return clean if clean.startswith("<svg") and _svg_cleaner()(clean) == clean else ""


def _is_same(one: str, other: str) -> bool:
    """Where nh3 puts the `rel` that it adds to links changes from time to time."""
    rel = ' rel="noopener noreferrer"'
    return one.replace(rel, "") == other.replace(rel, "")


def _check_size(html: str) -> None:
    spaces = sum(map(html.count, " \t\n\f\r/"))
    if len(html) > HTML_CHARACTERS or html.count("<") > TAGS or spaces > SPACES:
        raise ValueError("too much HTML")


@cache
def _html_cleaner() -> Callable[[str], str]:
    import nh3

    return _cleaner(set(nh3.ALLOWED_TAGS) - {"area", "map"} | _SVG_TAGS | {"section", "progress"})


@cache
def _plain_html_cleaner() -> Callable[[str], str]:
    import nh3

    return _cleaner(set(nh3.ALLOWED_TAGS) - {"area", "map"})


@cache
def _svg_cleaner() -> Callable[[str], str]:
    return _cleaner(_SVG_TAGS)


def _cleaner(tags: set[str]) -> Callable[[str], str]:
    import nh3

    attributes = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items() if tag in tags}
    if "table" in tags:
        attributes["*"] = {"style", "class", "title", "align", "colspan", "rowspan", "scope", "border", "valign"}
    attributes |= {tag: set(_SVG_ATTRIBUTES) for tag in _SVG_TAGS & tags}
    return nh3.Cleaner(
        tags=tags,
        attributes=attributes,
        url_schemes={"http", "https", "mailto", "data"},  # `_harmless` says where
        attribute_filter=_harmless,
        filter_style_properties=_STYLES,
        clean_content_tags=_REMOVED_WHOLE,
    ).clean


def _harmless(tag: str, name: str, value: str) -> str | None:
    """An attribute's value as it may stay; None to leave the attribute out."""
    if name in ("src", "href"):
        return _address(tag, name, value)
    if name == "id":
        # Ids are needed within a picture, and could be taken for the page's own.
        return value if value.startswith(_ID_PREFIX) else _ID_PREFIX + value
    if name == "class":
        return " ".join(word for word in value.split() if not _BAD_CLASS.match(word)) or None
    if name in ("xmlns", "xlink"):
        return value if value.startswith("http://www.w3.org/") else None
    value = _NEAR_URL.sub(lambda near: f"url(#{_prefixed(near[2])})", value)
    is_bad = (
        _BAD_STYLE.search(_NEAR_URL.sub("", value)) if name == "style" else "url" in _NEAR_URL.sub("", value).lower()
    )
    return None if is_bad and (name == "style" or tag in _SVG_TAGS) else value


def _address(tag: str, name: str, value: str) -> str | None:
    value = value.strip()
    if near := _NEAR_LINK.match(value):
        return f"#{_prefixed(near[1])}"
    if tag == "a" and name == "href":
        return value if _FAR_LINK.match(value) else None
    return value if tag in ("img", "image") and _IMAGE_DATA.match(value) else None


def _prefixed(name: str) -> str:
    return name if name.startswith(_ID_PREFIX) else _ID_PREFIX + name


# ---- Markdown and LaTeX ---------------------------------------------------------------------------------------------

_BREAK = "\N{ZERO WIDTH SPACE}"
# MathJax's commands that make links, attributes or new commands, or load extensions.
_ACTING = re.compile(
    r"\\+(?=(?:href|url|require|class|cssId|style|data|html\w*|includegraphics|unicode|csname|def|let|newcommand|renewcommand"
    r"|newenvironment|mmlToken|texHTML|toggle|mathtip|texttip|action|Tooltip|definecolor)(?![a-zA-Z]))",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_SAFE_IMAGE = re.compile(r"!\[[^\[\]!\\`]*\]\(data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=]*\)")
_IMAGE = re.compile(r"!(?=\[)")
_LINK = re.compile(r"\](?=\((?!\s*(?:https?://|mailto:|#))|:(?!\s*(?:https?://|mailto:|#)))", re.IGNORECASE)


def clean_markdown(text: str) -> str:
    """`text` whose HTML is shown as text, whose links lead to the web, and whose pictures are in the text itself."""
    text = _TAG.sub(f"<{_BREAK}", _ACTING.sub("", text))
    pieces, end = [], 0
    for picture in _SAFE_IMAGE.finditer(text):
        pieces += [_without_addresses(text[end : picture.start()]), picture[0]]
        end = picture.end()
    return "".join([*pieces, _without_addresses(text[end:])])


def _without_addresses(text: str) -> str:
    return _LINK.sub(f"]{_BREAK}", _IMAGE.sub(f"!{_BREAK}", text))


def clean_latex(text: str) -> str:
    """`text` without commands that act, and without tags, for pages that put it into their HTML."""
    return _TAG.sub("< ", _ACTING.sub("", text))
