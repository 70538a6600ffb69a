"""`visit_webpage`: a page of the web as Markdown."""

from __future__ import annotations

import asyncio
import codecs
import html
import re
from urllib.parse import urljoin

from ..errors import ToolCallError
from ..tools import Tool
from .fetch import Fetched, Web, fetch
from .packages import need

_HTML = ("text/html", "application/xhtml+xml")
_TEXT = re.compile(r"text/.*|application/(json|xml|javascript|.*\+json|.*\+xml)")
_UNSEEN = ["script", "style", "noscript", "template", "svg", "head", "title", "iframe"]


class VisitWebpageTool(Tool):
    """Reads pages: HTML as Markdown, text as it is.

    max_output_length: characters of the result at most. web: what may be reached; public addresses by default.
    """

    name = "visit_webpage"

    def __init__(self, max_output_length: int = 40_000, *, web: Web | None = None) -> None:
        need("markdownify", self.name)
        self.max_output_length = max_output_length
        self.web = web or Web()
        super().__init__(seconds=2 * self.web.seconds)

    async def forward(self, url: str) -> str:
        """Read a web page as Markdown.

        Args:
            url: Address of the page, beginning with http:// or https://.
        """
        page = await fetch(url, self.web, accept="text/html,application/xhtml+xml,text/*;q=0.9,*/*;q=0.5")
        text = await asyncio.to_thread(page_text, page)
        return cut(text, self.max_output_length, is_cut=page.is_cut)


def page_text(page: Fetched) -> str:
    """The page as text, HTML as Markdown. Raises `ToolCallError` for what is no text."""
    kind = page.kind or ("text/html" if page.body.lstrip()[:1] == b"<" else "text/plain")
    if kind in _HTML:
        return _markdown(page)
    if not _TEXT.fullmatch(kind) or b"\0" in page.body[:1000]:
        raise ToolCallError(f"{page.url} is no page but {kind}, which can't be read as text.")
    return _decoded(page)


def cut(text: str, most: int, *, is_cut: bool = False) -> str:
    """`text`, its first `most` characters at most; when something is missing, it says so."""
    if len(text) <= most and not is_cut:
        return text
    return f"{text[:most].rstrip()}\n\n(There is more; this is the beginning.)"


def _decoded(page: Fetched) -> str:
    try:
        return page.body.decode(page.charset or "utf-8", errors="replace")
    except LookupError:  # a charset that nobody knows
        return page.body.decode(errors="replace")


def _markdown(page: Fetched) -> str:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    if b"<" not in page.body:  # BeautifulSoup would warn of what looks like an address or a file's name
        return html.unescape(_decoded(page))
    # html.parser takes XHTML's first line for data, and warns.
    body = re.sub(rb"^\s*<\?xml[^>]*>", b"", page.body)
    try:
        charset = codecs.lookup(page.charset or "").name
    except LookupError:  # none was named, or none that exists: the page's own <meta> is looked at
        charset = None
    try:
        soup = BeautifulSoup(body, "html.parser", from_encoding=charset)
        title = soup.title.get_text(" ", strip=True) if soup.title else ""
        for unseen in soup.find_all(_UNSEEN):
            unseen.decompose()
        for link in soup.find_all("a", href=True):
            link["href"] = _absolute(page.url, str(link["href"]))
        for image in soup.find_all("img"):
            image["src"] = _absolute(page.url, str(image.get("src", "")))
        text = MarkdownConverter(heading_style="ATX").convert_soup(soup)
    except RecursionError:
        raise ToolCallError(f"{page.url} is nested too deeply to be read.") from None
    text = re.sub(r"\n\s*\n\s*\n+", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()
    has_title = not title or title in text[: 2 * len(title) + 100]
    return text if has_title else f"# {title}\n\n{text}"


def _absolute(base: str, link: str) -> str:
    """Where a link leads; nothing for pictures that are written into the page."""
    if link.startswith("data:"):
        return ""
    try:
        return urljoin(base, link)
    except ValueError:
        return link
