"""What a reply means: the thought, and the first complete action in it.

Models write Markdown. The first fenced Python block is the action; what stands before it is the thought; what follows
is never executed, because the stream is cut there (`FenceScanner`), so nobody pays for it either. Which marks open and
close a block is known to `fences`: a fence in a string or a comment does not end the code, and reasoning that stands in
the text belongs neither to the thought nor to the action.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from .fences import Block, Code, Other, Reasoning, opened


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
    """Reads a reply as it streams in, each character once, and says when its first action is complete."""

    def __init__(self) -> None:
        self.text = ""
        self._said: list[str] = []
        """What was read so far and is neither reasoning nor action."""
        self._block: Block | None = None
        """What is open now, or the action."""
        self._at = self._seen = 0
        """What is before `_at` is read; from there to `_seen` no line ends."""
        self._end = 0
        """Where the action ends; 0 before."""

    @property
    def is_complete(self) -> bool:
        """True once the closing fence of the first action was read."""
        return self._end > 0

    def feed(self, piece: str) -> bool:
        """Take the next piece; True once the first action is complete."""
        text, self.text = self.text, ""  # the only reference: so the next line appends, instead of copying all
        text += piece if text else piece.lstrip("\ufeff")
        self.text = text
        while not self.is_complete and (self._end_block(self._block) if self._block else self._begin_block()):
            pass
        return self.is_complete

    def read(self) -> Reply:
        """The reply as far as it has come; an unclosed block counts as closed at its end."""
        if not self.is_complete and not self.text.endswith("\n"):
            ended = FenceScanner()
            ended.feed(self.text + "\n")
            reply = ended.read()
            return replace(reply, end=min(reply.end, len(self.text)))
        said, block = "".join(self._said), self._block
        if isinstance(block, Code) and (code := block.read(self.text)):
            return Reply(_tidy(said + self.text[self._at : block.marks]), code, self._end or len(self.text))
        if not block and is_bare_python(said):
            return Reply("", said.replace("\r\n", "\n").strip(), len(self.text))
        rest = "" if isinstance(block, Reasoning) else self.text[self._at :]
        return Reply(_tidy(said + rest), None, len(self.text))

    def _begin_block(self) -> bool:
        """Take a line of prose, or find the block that it opens; False when more of the reply must come first."""
        end = self.text.find("\n", self._seen)
        self._block = opened(self.text, self._at, end)
        self._seen = len(self.text)
        if self._block or end < 0:
            return self._block is not None
        self._go_on(end + 1, is_said=True)
        return True

    def _end_block(self, block: Block) -> bool:
        """Find the end of what is open; False when it has not come, or is the action's."""
        end = block.over(self.text)
        if isinstance(block, Code) and end >= 0 and block.read(self.text):
            self._end = end
        if end < 0 or self.is_complete:
            return False
        if isinstance(block, Reasoning) and block.began_before:
            self._said.clear()
        self._go_on(end, is_said=isinstance(block, Other) and block.is_shown)
        self._block = block.next
        return True

    def _go_on(self, at: int, is_said: bool) -> None:
        if is_said:
            self._said.append(self.text[self._at : at])
        self._at = self._seen = at


def is_bare_python(text: str) -> bool:
    """True for a reply that is nothing but Python that does something: models forget the fence."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call | ast.Await) for node in body)


def _tidy(thought: str) -> str:
    thought = thought.replace("\r\n", "\n").strip()
    return thought.removeprefix("Thought:").removesuffix("Code:").strip()
