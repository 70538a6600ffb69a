"""What tests in a real page need of the Cellwright kernel: a model that does as it is told.

The kernel runs in a process of its own, so the model is a provider on loopback (`FakeProvider`, `echo`), which replies
with the code behind `py:` in the task.
"""

from __future__ import annotations

KERNEL = "cellwright"


def told_of(base_url: str) -> str:
    """A first cell that has the kernel ask the provider at that address."""
    settings = {"CELLWRIGHT_MODEL": "openai/x", "OPENAI_API_KEY": "k"}
    settings |= dict.fromkeys(("OPENAI_API_BASE", "OPENAI_BASE_URL"), base_url)
    return f"%%tool\nimport os\nos.environ.update({settings!r})\ndef one() -> int:\n    'One.'\n    return 1"
