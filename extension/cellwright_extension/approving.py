"""`%agent approve`: who decides whether an action runs."""

from __future__ import annotations

import click

from cellwright.approval import MODES

from .command_table import Text, command
from .session import Session

_MEANING = {
    "auto": "Actions run without being asked about.",
    "ask-risky": "You are asked before an action that is risky: network, files outside the workspace, deletion, "
    "other programs, installs, and what can't be judged.",
    "ask": "You are asked before every action.",
}


@command(click.Argument(["mode"], required=False, type=click.Choice(MODES)))
async def approve(session: Session, mode: str | None) -> object:
    """Show or change who decides whether an action runs: `%agent approve ask-risky`."""
    if mode:
        session.change(approve=mode)
        session.approval.forget()
    settings = session.settings
    least = f" An administrator wants at least {settings.approve_min}." if settings.approve_min != "auto" else ""
    return Text(f"{settings.approve}: {_MEANING[settings.approve]}{least}")
