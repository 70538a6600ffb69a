"""What a reply means: the thought, and the first complete action in it.

Models write Markdown. The first fenced Python block is the action; what stands before it is the thought; what follows
is never executed, because the stream is cut there (`FenceScanner`), so nobody pays for it either. A fence inside a
triple-quoted string does not end the block.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass

_OPEN = re.compile(r"^[ ]{0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<tag>[\w+-]*)[^\n`]*$")
_PYTHON_TAGS = {"", "python", "py", "python3", "ipython", "ipython3"}
_THINK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, read."""

    thought: str
    """Markdown before the action."""
    code: str | None
    """The action; None when the reply holds none."""
    end: int
    """Where the action ends in the reply's text, in characters; its length when there is none."""


class FenceScanner:
    """Reads a reply as it streams in and says when its first action is complete."""

    def __init__(self) -> None:
        self.text = ""
        self.is_complete = False
        """True once the closing fence of the first action was read."""
        self._line_start = 0
        self._fence = ""
        self._is_python = False
        self._code_start = 0
        self._thought_end = 0
        self._thinking = False

    def feed(self, piece: str) -> bool:
        """Take the next piece; True once the first action is complete."""
        self.is_complete = self._feed(piece)
        return self.is_complete

    def _feed(self, piece: str) -> bool:
        self.text += piece
        while (end := self.text.find("\n", self._line_start)) >= 0:
            if self._line(self._line_start, end):
                return True
            self._line_start = end + 1
        # The closing fence is often the very last thing a model writes, without a line end behind it.
        return self._is_python and self._closes(self.text[self._line_start :]) and self._is_whole(self._line_start)

    def read(self) -> Reply:
        """The reply as far as it has come; an unclosed block counts as closed at its end."""
        if self._fence and self._is_python:
            closed = self._closes(self.text[self._line_start :])
            stop = self._line_start if closed else len(self.text)
            code = self.text[self._code_start : stop].strip("\n")
            if code.strip():
                thought = _tidy(self.text[: self._thought_end])
                return Reply(
                    thought, textwrap.dedent(code).rstrip(), len(self.text.rstrip()) if closed else len(self.text)
                )
        visible = _THINK.sub("", self.text)
        if not self._fence and _is_bare_python(visible):
            return Reply("", visible.strip(), len(self.text))
        return Reply(_tidy(self.text), None, len(self.text))

    def _line(self, start: int, end: int) -> bool:
        line = self.text[start:end]
        if self._thinking or "<think>" in line:
            self._thinking = "</think>" not in line
        elif not self._fence:
            self._open(line, start, end)
        elif self._closes(line) and self._is_whole(start):
            if self._is_python:
                self.text = self.text[:end]
                return True
            self._fence = ""
        return False

    def _open(self, line: str, start: int, end: int) -> None:
        if match := _OPEN.match(line):
            self._fence = match["fence"]
            self._is_python = match["tag"].lower() in _PYTHON_TAGS
            self._code_start = end + 1
            self._thought_end = start

    def _closes(self, line: str) -> bool:
        mark = line.strip()
        return (
            bool(self._fence) and len(mark) >= len(self._fence) and set(mark) == {self._fence[0]} and not self._thinking
        )

    def _is_whole(self, fence_start: int) -> bool:
        """False when the fence stands inside a triple-quoted string of the code."""
        return not self._is_python or not _is_open_string(self.text[self._code_start : fence_start])


def _is_open_string(code: str) -> bool:
    if '"""' not in code and "'''" not in code:
        return False
    try:
        ast.parse(code)
    except SyntaxError as error:
        return "unterminated triple-quoted" in str(error.msg)
    except ValueError:  # null bytes
        return False
    return False


def _is_bare_python(text: str) -> bool:
    """True for a reply that is nothing but Python that does something: models forget the fence."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call | ast.Await) for node in body)


def _tidy(thought: str) -> str:
    return re.sub(r"^\s*Thought:\s*", "", _THINK.sub("", thought)).strip()
