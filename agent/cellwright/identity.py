"""Names for runs and conversations, and for the folder that they belong to."""

from __future__ import annotations

import uuid
from hashlib import sha256
from pathlib import Path


def new_id() -> str:
    """Twelve hexadecimal digits that nobody else has."""
    return uuid.uuid4().hex[:12]


def origin_of(folder: Path) -> str:
    """A folder as a hash: the same for the same folder, and telling nobody its path."""
    return sha256(str(folder.resolve()).encode()).hexdigest()[:16]
