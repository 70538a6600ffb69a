"""What a code agent sends before the task: characters of ours and of smolagents', with the same tools.

Every request pays for these characters, so they are counted: without tools and with ten, as a provider's model gets
them, and as the embedded model does, which is shown examples, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from cellwright import CodeAgent
from cellwright.models.base import Model
from cellwright.models.embedded import EmbeddedModel
from cellwright.models.providers import LiteLLMModel
from cellwright.sandbox.none import NoSandbox

from .table import show


def search_orders(customer: str, status: str = "any", limit: int = 20) -> list[dict[str, Any]]:
    """Search the orders of a customer.

    Orders are sorted by date, the newest first. Cancelled orders are part of the result.

    Args:
        customer: The customer's number, e.g. "C-1042", or the full name.
        status: One of "open", "shipped", "cancelled" or "any".
        limit: How many orders to return at most.

    Returns:
        One dictionary for each order, with the keys id, date, status and total.
    """
    return [{"customer": customer, "status": status, "limit": limit}]


def exchange_rate(base: str, quote: str, date: str | None = None) -> float:
    """Get the exchange rate between two currencies.

    Args:
        base: The currency to convert from, as an ISO 4217 code.
        quote: The currency to convert to, as an ISO 4217 code.
        date: A day in the form YYYY-MM-DD; today's rate if left out.
    """
    return float(len(base + quote + (date or "")))


def send_email(to: list[str], subject: str, body: str, attachments: list[str] | None = None) -> str:
    """Send an e-mail in the name of the user.

    Args:
        to: Addresses of the recipients.
        subject: The subject line.
        body: The text of the mail; Markdown is turned into HTML.
        attachments: Paths of files to attach.
    """
    return f"{to} {subject} {body} {attachments}"


def list_files(folder: str = ".", pattern: str = "*", recursive: bool = False) -> list[str]:
    """List the files of a folder of the shared drive.

    Args:
        folder: The folder to look in.
        pattern: A glob pattern that the names must match, e.g. "*.csv".
        recursive: Whether to look in the folders beneath, too.
    """
    return [folder, pattern, str(recursive)]


def query_database(sql: str, parameters: list[str] | None = None, timeout: float = 30.0) -> list[dict[str, Any]]:
    """Run a read-only SQL query against the data warehouse and return the rows.

    The warehouse is PostgreSQL 16. Tables: customers, orders, order_items, products, returns.

    Args:
        sql: The query, with %s where a parameter goes.
        parameters: Values for the placeholders, in their order.
        timeout: Seconds after which the query is given up.
    """
    return [{"sql": sql, "parameters": parameters, "timeout": timeout}]


def weather_forecast(latitude: float, longitude: float, days: int = 3) -> list[dict[str, Any]]:
    """Get the weather forecast for a place.

    Args:
        latitude: Degrees north.
        longitude: Degrees east.
        days: For how many days, at most 14.

    Returns:
        For each day its date, the lowest and the highest temperature in degrees Celsius, and millimetres of rain.
    """
    return [{"latitude": latitude, "longitude": longitude, "days": days}]


def create_ticket(title: str, description: str, priority: str = "normal", assignee: str | None = None) -> int:
    """Create a ticket in the issue tracker.

    Args:
        title: A short summary.
        description: What is wrong, and how it can be reproduced.
        priority: One of "low", "normal", "high".
        assignee: Login of the person who should look at it.

    Returns:
        The number of the ticket.
    """
    return len(title + description + priority + (assignee or ""))


def translate(text: str, target: str, source: str = "auto") -> str:
    """Translate a text into another language.

    Args:
        text: The text to translate.
        target: Language to translate into, as an ISO 639-1 code.
        source: Language of the text; found out if "auto".
    """
    return text + target + source


def calendar_events(start: str, end: str, calendar: str = "work") -> list[dict[str, Any]]:
    """Get the events of a calendar between two points in time.

    Args:
        start: Beginning of the period, in ISO 8601.
        end: End of the period, in ISO 8601.
        calendar: The name of the calendar.
    """
    return [{"start": start, "end": end, "calendar": calendar}]


def read_document(path: str, pages: list[int] | None = None) -> str:
    """Extract the text of a PDF or Word document.

    Args:
        path: Path of the document on the shared drive.
        pages: Numbers of the pages to read, starting at 1; all pages if left out.
    """
    return f"{path} {pages}"


TEN: Sequence[Callable[..., Any]] = (
    search_orders, exchange_rate, send_email, list_files, query_database, weather_forecast, create_ticket, translate,
    calendar_events, read_document,
)  # fmt: skip
"""Tools as people write them: typed arguments, each described."""


async def measure_prompt() -> None:
    """Characters before the task, without tools and with ten: ours, and smolagents'."""
    hosted = LiteLLMModel("anthropic/claude-sonnet-4-5")
    counts = {
        "Cellwright, a provider's model": (our_prompt(hosted, ()), our_prompt(hosted, TEN)),
        "Cellwright, embedded model (with examples)": (
            our_prompt(EmbeddedModel(), ()),
            our_prompt(EmbeddedModel(), TEN),
        ),
    }
    ratios = ""
    if find_spec("smolagents"):
        rival = rival_prompt(()), rival_prompt(TEN)
        first = counts["Cellwright, a provider's model"]
        counts["smolagents"] = rival
        ratios = (
            f"Cellwright / smolagents: {first[0] / rival[0]:.2f} without tools, {first[1] / rival[1]:.2f} with ten."
        )
    rows = [[name, *(f"{count:,}" for count in both)] for name, both in counts.items()]
    show("Prompt of a code agent before the task, characters", ["", "no tools", "ten tools"], rows)
    print(ratios, flush=True)


def our_prompt(model: Model, tools: Sequence[Any]) -> int:
    """Characters of all messages that stand before the first task."""
    agent = CodeAgent(model, tools=tools, sandbox=NoSandbox(), journal=None)
    return sum(len(message.content) for message in agent.memory_for(model).messages)


def rival_prompt(tools: Sequence[Callable[..., Any]]) -> int:
    """Characters of smolagents' system prompt with the same tools."""
    import smolagents

    class Silent(smolagents.Model):  # type: ignore[misc]
        """Is never asked."""

    agent = smolagents.CodeAgent(
        [smolagents.tool(tool) for tool in tools], Silent(model_id="silent"), verbosity_level=-1
    )
    return len(agent.system_prompt)
