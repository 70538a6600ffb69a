"""How a run is exported, and a notebook verified: the options, the same for command line and `%agent`."""

from __future__ import annotations

import click

from .options import sandbox_options
from .outputs import Json
from .settings import READERS


class Size(click.ParamType[int]):
    """Bytes: `5000`, `100kB`, `2MiB`."""

    name = "size"

    def convert(self, value: Json, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """`100kB` -> 100000."""
        try:
            size = READERS["file_size"](value)
        except ValueError:
            size = None
        if size is None:
            self.fail(f"{value!r} is no size: write e.g. 5000, 100kB or 2MiB.", param, ctx)
        return int(size)


def export_options() -> list[click.Option]:
    """How a run is exported."""
    return [
        click.Option(["--report"], is_flag=True, help="For readers: the answer on top, the code folded."),
        click.Option(["--html"], is_flag=True, help="A page for a browser, which needs no network."),
        click.Option(["--max-output"], type=Size(), help="Longer outputs are left out, but for their hash: 100kB."),
        click.Option(
            ["--sign", "is_signed"], is_flag=True, help="Sign the record with your key; it is made when there is none."
        ),
    ]


def verify_options() -> list[click.Option]:
    """How a notebook is verified."""
    return [
        click.Option(["--no-run"], is_flag=True, help="Check the record only; nothing is run again."),
        click.Option(["--stamp"], help="Write a copy with the verdict in its first cell to this path."),
        click.Option(["--key"], help="Fingerprint of the key that must have signed it."),
        click.Option(["--kernel-name"], help="The Jupyter kernelspec; the recorded one by default."),
        *sandbox_options(),
    ]
