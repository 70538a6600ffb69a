"""The texts that models are sent, kept out of the code: one file each."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def text(name: str) -> str:
    """The prompt of that name, e.g. `system`."""
    return files(__package__).joinpath(f"{name}.md").read_text(encoding="utf-8").strip()
