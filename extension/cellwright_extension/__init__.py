"""The notebook face: magics, the live view."""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """Add `%agent` and `%%agent` to an IPython shell."""
    from .magics import register

    register(shell)
