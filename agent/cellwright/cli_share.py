"""`cellwright share ...`: saved tools and agents to the Hub and back. Nothing that is pulled is run."""

from __future__ import annotations

import asyncio
from typing import Any

import click


@click.group()
def share() -> None:
    """Put saved tools and agents on the Hub, and get them from there."""


_TYPE = click.option(
    "--type", "repo_type", type=click.Choice(["model", "dataset", "space"]), default="model", show_default=True,
    help="Kind of repository; tools of smolagents are spaces.",
)  # fmt: skip


@share.command()
@click.argument("folder")
@click.argument("repo")
@click.option("--public", is_flag=True, help="Let everybody see it, if the repository is new.")
@_TYPE
def push(folder: str, repo: str, *, public: bool, repo_type: Any) -> int:
    """Put the saved tool or agent in FOLDER into REPO, e.g. `me/convert`."""
    from .sharing.hub import push as push_to

    commit = asyncio.run(push_to(folder, repo, private=not public, repo_type=repo_type))
    click.echo(f"{repo}@{commit}")
    return 0


@share.command()
@click.argument("repo")
@click.argument("folder")
@click.option("--revision", help="A branch, a tag or a commit; the newest by default.")
@_TYPE
def pull(repo: str, folder: str, *, revision: str | None, repo_type: Any) -> int:
    """Get the tool or agent of REPO into FOLDER. It is not run: read it first."""
    from .sharing.files import write_folder
    from .sharing.hub import fetch

    found = asyncio.run(fetch(repo, revision=revision, repo_type=repo_type))
    target = write_folder(folder, found.files)
    click.echo(f"{found.where} is in {target}; nothing of it was run. Read it before you load it with trust=True:")
    for path in sorted(found.files):
        click.echo(f"  {target / path}")
    return 0
