"""Which runs: the options of `runs`, the same for command line and `%agent`."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from .identity import origin_of
from .outputs import Json

_UNITS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0}
_PERIOD = re.compile(r"(\d+(?:\.\d+)?)\s*([hdwy])")


class Period(click.ParamType[float]):
    """A period of time, in seconds: `12h`, `90d`, `8w`, `1y`. Not `m`, which would be minutes or months."""

    name = "period"

    def convert(self, value: Json, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`90d` -> 7776000.0."""
        if isinstance(value, float):
            return value
        seconds = _seconds(str(value))
        if seconds is None:
            self.fail(f"{value!r} is no period: write e.g. 12h, 90d, 8w or 1y.", param, ctx)
        return seconds


class Moment(click.ParamType[float]):
    """A moment, in seconds since 1970-01-01 UTC: `2026-11-21`, `2026-11-21 14:30` (local time), or `7d` ago."""

    name = "when"

    def convert(self, value: Json, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`2026-11-21` -> its first moment here."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        if (seconds := _seconds(text)) is not None:
            return time.time() - seconds
        days = {"today": 0, "yesterday": 1}
        try:
            if text in days:
                text = (datetime.now() - timedelta(days=days[text])).date().isoformat()
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no day: write e.g. 2026-11-21, '2026-11-21 14:30', today, or 7d for a week ago.")


def _seconds(text: str) -> float | None:
    found = _PERIOD.fullmatch(text.strip())
    return float(found[1]) * _UNITS[found[2]] if found else None


def span_options() -> list[click.Option]:
    """From when to when."""
    return [
        click.Option(["--since"], type=Moment(), help="Started then or later: 2026-11-21, today, or 7d (ago)."),
        click.Option(["--before"], type=Moment(), help="Started before: 2026-11-21, today, or 90d (ago)."),
    ]


def filter_options() -> list[click.Option]:
    """Which runs are listed or searched, and how many."""
    return [
        click.Option(["--status"], help="success, failed, interrupted, unfinished (its process is gone), ..."),
        click.Option(["--model", "-m"], help="Part of the model's name."),
        *span_options(),
        click.Option(["--min-cost"], type=click.FloatRange(min=0), help="US dollars, at least."),
        click.Option(["--author"], type=click.Choice(["agent", "person"]), help="person: cells that were run by hand."),
        click.Option(
            ["--folder/--all", "here"], default=False, help="Only those of the current folder; all by default."
        ),
        click.Option(
            ["--limit", "-n"], type=click.IntRange(min=1), default=20, show_default=True, help="How many at most."
        ),
    ]


def chosen(given: Mapping[str, Json]) -> dict[str, Any]:
    """The options as `Journal.runs` and `search` take them; those that were not given are left out."""
    names = ("status", "model", "since", "before", "min_cost", "author", "limit")
    found = {name: given[name] for name in names if given.get(name) is not None}
    return found | ({"origin": origin_of(Path.cwd())} if given.get("here") else {})
