"""Names for runs and conversations."""

from __future__ import annotations

import uuid


def new_id() -> str:
    """Twelve hexadecimal digits that nobody else has."""
    return uuid.uuid4().hex[:12]
