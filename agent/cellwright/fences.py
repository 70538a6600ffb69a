"""How models mark code and reasoning in what they write: fences, tags, and what only looks like one.

Markdown fences are the rule. Models that were trained or prompted otherwise write tags: `<code>` (smolagents),
`<execute>` and `<execute_ipython>` (CodeAct, OpenHands), `[PYTHON]` (Code Llama), `<|python_tag|>` and
`<|python_start|>` (Llama 3 and 4), `tool_code` as the language of a fence (Gemma). Reasoning stands in `<think>` and
the like where a provider does not keep it apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMED = {f"<{name}>": f"</{name}>" for name in "code python tool_code execute execute_ipython".split()}
_CODE_TAGS = _NAMED | {
    "[PYTHON]": "[/PYTHON]",
    "<|python_start|>": "<|python_end|>",
    "<|python_tag|>": "<|eom_id|>",  # which most providers keep to themselves: then the reply's end is the code's
}
_REASONING = {f"<{name}>": f"</{name}>" for name in "think thinking reasoning".split()}
_TAG = re.compile(r"[ \t]{0,9}+(" + "|".join(map(re.escape, [*_CODE_TAGS, *_REASONING])) + ")")
# In quotes it is talked about; in JSON, whose strings hold no line ends, it must be the first thing in its line.
_END_OF_REASONING = re.compile("(?<![`'\"])(?:" + "|".join(_REASONING.values()) + ")")
_END_BEFORE_JSON = re.compile(r"^[ \t]*+(?:" + "|".join(_REASONING.values()) + ")", re.MULTILINE)
# Possessive, and tried at one place only: a line of 200,000 backticks must not take minutes.
_FENCE = re.compile(
    r"(?P<before>\s*+(?=~)|[^`]*+)(?P<marks>`{3,}+|~{3,}+)"
    r"[ \t]*+\{?(?P<language>[\w+#.-]*+)(?P<more>[^`]*+)(?P<code>`?)"
)
_PYTHON = {"python", "py", "python3", "ipython", "ipython3", "tool_code"}
_SHOWS_FENCES = {"markdown", "md", "mdx", "qmd"}
_STRINGS = re.compile(r"\\\r?\n|\\.|'''|\"\"\"|['\"#\n]", re.DOTALL)
_WRAPPED = re.compile(r"\A(?:(?:`{3,}|~{3,})\w*|<code>)[ \t]*\n|\n[ \t]*(?:`{3,}|~{3,}|</code>)\s*\Z")


class Block:
    """What stands between marks, while it streams in."""

    next: Block | None = None
    """The block that follows without prose between; set when this one is over."""

    def __init__(self, marks: int, begin: int, closer: str) -> None:
        self.marks, self.begin, self.closer = marks, begin, closer
        """Where its opening marks begin, where what they hold begins, and what closes it."""
        self.stop: int | None = None
        """Where its closing marks begin; None while they have not come."""
        self._seen = begin

    def over(self, text: str) -> int:
        """Where `text` goes on behind this block; -1 while it is open. Looks at every character once."""
        while (found := text.find(self.closer, self._seen)) >= 0:
            self._seen = found + len(self.closer)
            if self._closes(text, found):
                self.stop = found
                return self._seen
        self._seen = max(self._seen, len(text) - len(self.closer) + 1)
        return -1

    def _closes(self, text: str, place: int) -> bool:
        return True


class Reasoning(Block):
    """What a model thinks before it replies."""

    began_before = False
    """True when nothing opened it, so that all before it is reasoning, too."""


class Code(Block):
    """Python; marks in its strings and comments do not close it."""

    def __init__(self, marks: int, begin: int, closer: str, head: str = "") -> None:
        """head: what must stand before the closing marks."""
        super().__init__(marks, begin, closer)
        self._strings = Strings(begin)
        self._head = head

    def over(self, text: str) -> int:
        end = super().over(text)
        if self.stop is None or self.closer[0] not in "`~" or text[self.begin : self.stop].strip():
            return end
        # Nothing is in it. Some models write two fences in a row: then what seems to close this one opens the real one.
        self.next = Other(self.stop, self.stop, self.closer)
        return self.stop

    def _closes(self, text: str, place: int) -> bool:
        return not self._strings.holds(text, place) and text.endswith(self._head, 0, place)

    def read(self, text: str) -> str:
        """The code, without indentation and the remains of marks. A reply may break off within the closing marks."""
        code = text[self.begin : self.stop].replace("\r\n", "\n").strip("\n")
        if self.stop is None:
            remains = (self.closer[:size] for size in range(min(len(self.closer), 20) - 1, 0, -1))
            code = code.removesuffix(next(filter(code.endswith, remains), ""))
        code = _WRAPPED.sub("", code).strip("\n")  # models put fences into tags, and tags into fences
        indent = code[: len(code) - len(code.lstrip(" \t"))]
        # Not textwrap.dedent: it would change blank lines within strings.
        return re.sub(f"^{indent}", "", code, flags=re.MULTILINE).rstrip()


class Other(Block):
    """A block in another language, which is shown, not run; one of Markdown may hold blocks itself."""

    def __init__(self, marks: int, begin: int, closer: str, language: str = "") -> None:
        super().__init__(marks, begin, closer)
        self._line, self._depth, self._language = begin, 1, language
        self.is_shown = bool(language)
        """False for the remains of an empty block."""

    def over(self, text: str) -> int:
        while (end := text.find("\n", self._seen)) >= 0:
            start, self._line = self._line, end + 1
            self._seen = self._line
            fence = _fence(text[start:end])
            if fence is None or not fence.marks.startswith(self.closer):
                continue
            if not (fence.before or fence.language or fence.more):
                self._depth -= 1
            elif self._language in _SHOWS_FENCES:
                self._depth += 1
            elif fence.language in _PYTHON:
                return start  # this one was never closed
            if not self._depth:
                return self._line
        self._seen = len(text)
        return -1


def opened(text: str, start: int, end: int) -> Block | None:
    """The block that is opened in the line from `start` to `end`; `end` is -1 while the line's end has not come.

    Tags count at the beginning of a line only (elsewhere they are talked about), and at once, since code may stand
    behind them. A fence may stand behind prose (`Code: ```python`) when it is the last thing in its line.
    """
    if tag := _TAG.match(text, start):
        kind: type[Block] = Code if tag[1] in _CODE_TAGS else Reasoning
        return kind(tag.start(1), tag.end(), (_CODE_TAGS | _REASONING)[tag[1]])
    line = text[start : max(start, end)]
    if reasoned := [*_END_OF_REASONING.finditer(line)]:
        block = Reasoning(start, start + reasoned[-1].start(), reasoned[-1][0])
        block.began_before = True  # the templates of DeepSeek R1 and of others put the opening tag into the prompt
        return block
    fence = _fence(line)
    if fence is None:
        return None
    marks, begin = start + fence.at, end + 1
    if fence.holds_code:
        begin = marks + len(fence.marks) + len(fence.language)
    if fence.language and fence.language not in _PYTHON:
        return Other(marks, begin, fence.marks, fence.language)
    # Backticks are no Python, so they close it anywhere; tildes are, so they must stand where the first ones stood.
    return Code(marks, begin, fence.marks, f"\n{text[start:marks]}" if fence.marks[0] == "~" else "")


@dataclass(frozen=True, slots=True)
class _Fence:
    """The marks of a line, and what stands around them."""

    at: int
    before: str
    marks: str
    language: str
    more: str
    holds_code: bool
    """True for a block in one line."""


def _fence(line: str) -> _Fence | None:
    found = _FENCE.match(line)
    if not found:
        return None
    before, more, language = found["before"].strip(), found["more"].strip(" \t\r}"), found["language"].lower()
    if before and more:
        return None
    if found["code"] and not (more and language in _PYTHON):  # prose that shows backticks
        return None
    return _Fence(found.start("marks"), before, found["marks"], language, more, bool(found["code"]))


def without_reasoning(text: str) -> str:
    """`text`, which is JSON, from where reasoning ends that it begins with; nothing of it while that goes on."""
    block = opened(text, len(text) - len(text.lstrip()), -1)
    if not isinstance(block, Reasoning):
        return text[max((found.end() for found in _END_BEFORE_JSON.finditer(text)), default=0) :]
    end = block.over(text)
    return text[end:] if end >= 0 else ""


class Strings:
    """Whether a place in Python code is in a string or in a comment. Code is read once, from front to back."""

    def __init__(self, start: int) -> None:
        self._at = start
        self._within = ""
        """The quotes of the string that is open, `#` in a comment."""

    def holds(self, text: str, place: int) -> bool:
        """True when `place`, which is behind all places asked for before, is within one."""
        for mark in _STRINGS.findall(text, self._at, place):
            if mark[-1] == "\n":
                # A string in single quotes ends with its line, unless the line goes on; so what is broken stays small.
                if self._within == "#" or (mark == "\n" and len(self._within) == 1):
                    self._within = ""
            elif not self._within:
                self._within = "" if mark[0] == "\\" else mark
            elif mark == self._within != "#":
                self._within = ""
        self._at = place
        return bool(self._within)
