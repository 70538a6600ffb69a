"""`authorized_imports`: which modules the agent's code may import, said as a policy.

It is a rule for a model that means well, not the security boundary: that is the sandbox. Imports are read from the
syntax tree; what is imported in other ways (`__import__`, `importlib`) is not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sandbox.base import AtHand


def imports_policy(names: Iterable[str]) -> Callable[[str, str, AtHand], str | None]:
    """A guard: only these modules and what is beneath them, e.g. `["numpy", "matplotlib.pyplot"]`; `*` allows all."""
    allowed = tuple(names)

    def authorized_imports(code: str, task: str, at_hand: AtHand) -> str | None:
        if "*" in allowed:
            return None
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError):
            return None  # running it says best what is wrong with it
        for name in _imported(tree):
            if not any(name == known or name.startswith(f"{known}.") for known in allowed):
                return f"Not run: importing {name} is not allowed. Allowed: {', '.join(allowed) or 'nothing'}."
        return None

    return authorized_imports


def _imported(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            # `from matplotlib import pyplot` is the module matplotlib.pyplot where that alone is allowed.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
