"""`web_search` through ddgs, and `wikipedia_search` through MediaWiki's API."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Literal

from ..errors import ToolCallError, one_line
from ..outputs import Json
from ..tools import Tool
from .fetch import Web, fetch
from .packages import need
from .webpage import cut


class WebSearchTool(Tool):
    """Searches the web with ddgs, which asks search engines as a browser would; no key is needed.

    engine: one that ddgs knows, e.g. `duckduckgo`, `brave`, `mojeek`; several with commas between; or `auto`, which
    asks many. seconds: for a search. rate_limit: searches per second at most, None for as many as come.
    base_url: where to search instead of the engine's own address.
    """

    name = "web_search"

    def __init__(
        self,
        max_results: int = 10,
        engine: str = "duckduckgo",
        *,
        seconds: float = 20.0,
        rate_limit: float | None = 1.0,
        base_url: str | None = None,
    ) -> None:
        need("ddgs", self.name)
        self.max_results, self.engine, self.base_url = max_results, engine, base_url
        self._pause = 1.0 / rate_limit if rate_limit else 0.0
        self._next = 0.0
        super().__init__(seconds=seconds + 30.0)  # those who wait for their turn, too
        self._patience = seconds

    async def forward(self, query: str) -> str:
        """Search the web: titles, addresses and descriptions of the best pages, as Markdown.

        Args:
            query: What to search for.
        """
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + self._pause
        await asyncio.sleep(turn - now)
        found = await asyncio.to_thread(self._search, query)
        if not found:
            raise ToolCallError(f"nothing was found for {query!r}; use fewer or other words.")
        return "## Search Results\n\n" + "\n\n".join(
            f"[{one_line(hit['title'])}]({hit['href']})\n{one_line(hit['body'], 500)}" for hit in found
        )

    def _search(self, query: str) -> list[dict[str, Any]]:
        from ddgs import DDGS
        from ddgs.engines import ENGINES
        from ddgs.exceptions import DDGSException

        known = ENGINES["text"]
        if unknown := [word for word in self.engine.split(",") if word.strip() not in (*known, "auto")]:
            raise ToolCallError(f"there is no search engine {unknown[0]!r}; there are {', '.join(sorted(known))}.")
        searching = DDGS(timeout=max(1, round(self._patience)))
        if self.base_url:
            for engine in searching._get_engines("text", self.engine):  # kept by it, and used by the search
                engine.search_url = self.base_url
        try:
            return searching.text(query, backend=self.engine, max_results=self.max_results)
        except DDGSException as error:
            if "No results found" in str(error):
                return []
            raise ToolCallError(f"the search engine did not answer: {one_line(str(error), 200)}") from None


class WikipediaSearchTool(Tool):
    """Looks things up in Wikipedia, or another wiki that runs MediaWiki.

    content_type: `summary` (what stands before the first heading) or `text`. user_agent: who asks; Wikimedia wants a
    name and a way to reach you. base_url: address of the wiki's api.php.
    """

    name = "wikipedia_search"

    def __init__(
        self,
        user_agent: str | None = None,
        language: str = "en",
        content_type: Literal["summary", "text"] = "text",
        *,
        max_output_length: int = 20_000,
        base_url: str | None = None,
        web: Web | None = None,
    ) -> None:
        from dataclasses import replace

        self.web = web or Web()
        if user_agent:
            self.web = replace(self.web, user_agent=user_agent)
        self.content_type, self.max_output_length = content_type, max_output_length
        self.base_url = base_url or f"https://{language}.wikipedia.org/w/api.php"
        super().__init__(seconds=2 * self.web.seconds)

    async def forward(self, query: str) -> str:
        """Look a topic up in Wikipedia: the article that fits best, its address, and the names of others.

        Args:
            query: The topic, or the name of an article.
        """
        hits = await self._ask(list="search", srsearch=query, srlimit=6, srprop="")
        titles = [str(hit["title"]) for hit in hits.get("search", ())]
        if not titles:
            raise ToolCallError(f"Wikipedia has no article for {query!r}; use fewer or other words.")
        wanted: dict[str, str | int] = {"exintro": 1} if self.content_type == "summary" else {}
        found = await self._ask(
            titles=titles[0], prop="extracts|info", explaintext=1, exsectionformat="wiki", inprop="url", redirects=1,
            **wanted,
        )  # fmt: skip
        page = found["pages"][0]
        text = cut(str(page.get("extract", "")).strip() or "(no text)", self.max_output_length)
        others = f"\n\nOther articles: {'; '.join(titles[1:])}" if titles[1:] else ""
        return f"# {page['title']}\n{page.get('fullurl', '')}\n\n{text}{others}"

    async def _ask(self, **words: str | int) -> dict[str, Json]:
        """What the API says to a query."""
        params = {"action": "query", "format": "json", "formatversion": 2, **words}
        answer = await fetch(self.base_url, self.web, params=params, accept="application/json")
        try:
            said = json.loads(answer.body)
            if "error" in said:
                raise ToolCallError(f"Wikipedia refused: {one_line(str(said['error'].get('info')), 200)}")
            query: dict[str, Json] = said.get("query", {})
            return query
        except (ValueError, AttributeError, TypeError):
            raise ToolCallError(f"{self.base_url} does not answer as a MediaWiki API ({answer.kind}).") from None
