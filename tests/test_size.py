"""The promise of size: what a reader needs to understand the loop is less than 1,000 lines of code."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import cellwright

FILES = "errors events run replies memory limits tools loop agent".split()
PROMISED = 1000

_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Lines that hold code: no blank lines, comments or docstrings (those beneath fields included)."""
    said: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            said.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - said)


def test_docstrings_comments_and_blank_lines_are_no_code() -> None:
    source = '"""Story\nof two lines."""\n\n# why\nx = (\n    1\n)\n\nclass A:\n    y: int\n    """Unit."""\n'
    assert code_lines(source) == 5


def test_the_loop_and_all_it_rests_on_is_less_than_1000_lines() -> None:
    counts = counted()
    print(", ".join(f"{name} {count}" for name, count in counts.items()), "- together", sum(counts.values()))
    assert sum(counts.values()) < PROMISED, counts


def counted() -> dict[str, int]:
    folder = Path(cellwright.__file__).parent
    return {name: code_lines((folder / f"{name}.py").read_text(encoding="utf-8")) for name in FILES}
