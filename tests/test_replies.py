"""Replies as models really write them: which part is the thought, which the action, and when the action is complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwright.replies import FenceScanner, Reply


def read(text: str) -> Reply:
    """Read a whole reply; what stands after its first action does not count."""
    scanner = FenceScanner()
    scanner.feed(text)
    return scanner.read()


CODE = "x = 1\nprint(x)"
STRING_WITH_FENCE = 'text = """\n```\nnot the end\n```\n"""\nprint(text)'

FORMS: dict[str, tuple[str, str, str | None]] = {
    "plain": (f"Thought: Add.\n```python\n{CODE}\n```", "Add.", CODE),
    "py": (f"Add.\n```py\n{CODE}\n```\n", "Add.", CODE),
    "no tag": (f"Add.\n```\n{CODE}\n```", "Add.", CODE),
    "capitals": (f"Add.\n```Python\n{CODE}\n```", "Add.", CODE),
    "tildes": (f"Add.\n~~~python\n{CODE}\n~~~", "Add.", CODE),
    "four marks": (f"Add.\n````python\n{CODE}\n````", "Add.", CODE),
    "indented": ("Add.\n  ```python\n  x = 1\n  print(x)\n  ```", "Add.", CODE),
    "more after it": (f"Add.\n```python\n{CODE}\n```\nAnd then:\n```python\nevil()\n```", "Add.", CODE),
    "json first": (
        f'As in\n```json\n{{"a": 1}}\n```\nso:\n```python\n{CODE}\n```',
        'As in\n```json\n{"a": 1}\n```\nso:',
        CODE,
    ),
    "fence in a string": (f"Text.\n```python\n{STRING_WITH_FENCE}\n```\n", "Text.", STRING_WITH_FENCE),
    "thinking": (f"<think>\n```python\nno()\n```\n</think>\nAdd.\n```python\n{CODE}\n```", "Add.", CODE),
    "unclosed": (f"Add.\n```python\n{CODE}", "Add.", CODE),
    "bare": (CODE, "", CODE),
    "bare answer": ("final_answer(42)", "", "final_answer(42)"),
    "prose": ("The answer is 42.", "The answer is 42.", None),
    "one word": ("Yes", "Yes", None),
    "empty": ("", "", None),
    "empty block": ("Hm.\n```python\n", "Hm.\n```python", None),
    "only json": ('```json\n{"a": 1}\n```', '```json\n{"a": 1}\n```', None),
    "inline code": ("Use `print(1)` for it.", "Use `print(1)` for it.", None),
    "null byte": ("a\x00b", "a\x00b", None),
    "fence after prose": (f"Thought: Add.\nCode: ```python\n{CODE}\n```", "Add.", CODE),
    "end in the line of the code": ("```python\nprint(1)``` and more", "", "print(1)"),
    "spaces behind the marks": (f"```python  \n{CODE}\n```   \nmore", "", CODE),
    "one line": ("Add.\n```python print(1)```\nDone.", "Add.", "print(1)"),
    "two fences in a row": (f"Add.\n```\n```py\n{CODE}\n```", "Add.", CODE),
    "an empty block first": (f"Add.\n```python\n```\nAgain:\n```python\n{CODE}\n```", "Add.\nAgain:", CODE),
    "quarto": (f"```{{python}}\n{CODE}\n```", "", CODE),
    "gemma": (f"```tool_code\n{CODE}\n```", "", CODE),
    "smolagents": (f"Thought: Add.\n<code>\n{CODE}\n</code>", "Add.", CODE),
    "tag in a string": ("Add.\n<code>print('</code>')</code> and", "Add.", "print('</code>')"),
    "tag in prose": ("The page has <code>a</code>.\n<b>", "The page has <code>a</code>.\n<b>", None),
    "fence in a tag": (f"Add.\n<code>\n```python\n{CODE}\n```\n</code>", "Add.", CODE),
    "tag in a fence": (f"Add.\n```python\n<code>\n{CODE}\n</code>\n```", "Add.", CODE),
    "half a closing tag": (f"Add.\n<code>\n{CODE}\n</code", "Add.", CODE),
    "half a closing fence": (f"Add.\n```python\n{CODE}\n``", "Add.", CODE),
    "backticks at the end of a comment": ("```python\nx = 1  # `x`\n```", "", "x = 1  # `x`"),
    "llama 3": ("<|python_tag|>print(1)", "", "print(1)"),
    "llama 4": ("<|python_start|>print(1)<|python_end|>", "", "print(1)"),
    "code llama": (f"[PYTHON]\n{CODE}\n[/PYTHON]", "", CODE),
    "thinking, and on in that line": (f"<think>```py\nno()\n```</think>Add.\n```python\n{CODE}\n```", "Add.", CODE),
    "thinking by another name": (f"<thinking>Hm.</thinking>\n<reasoning>\nno()</reasoning>```\n{CODE}\n```", "", CODE),
    "thinking without end": (f"<think>Hm.\n```python\n{CODE}\n```", "", None),
    "thinking without beginning": (f"Let me see.\nHm</think>Add.\n```python\n{CODE}\n```", "Add.", CODE),
    "thinking in the line of the fence": (f"Let me see.\nHm</think>```python\n{CODE}\n```", "", CODE),
    "thinking, then bare": ("Let me see.</think>print(1)", "", "print(1)"),
    "the end of thinking in quotes": ("Hm.\nIt writes `</think>`.", "Hm.\nIt writes `</think>`.", None),
    "the end of thinking in a string": ("x = 1\nprint('</think>')", "", "x = 1\nprint('</think>')"),
    "thinking, then prose": ("<think>Hm.</think>\nIt is 42.", "It is 42.", None),
    "quoted by four marks": (
        f"Look:\n````markdown\n```python\nno()\n```\n````\nSo:\n```python\n{CODE}\n```",
        "Look:\n````markdown\n```python\nno()\n```\n````\nSo:",
        CODE,
    ),
    "quoted by three marks": (
        f"Look:\n```markdown\nA\n```python\nno()\n```\nB\n```\nSo:\n```python\n{CODE}\n```",
        "Look:\n```markdown\nA\n```python\nno()\n```\nB\n```\nSo:",
        CODE,
    ),
    "json without end": (f"As in\n```json\n{{}}\n```python\n{CODE}\n```", "As in\n```json\n{}", CODE),
    "tildes in the code": ("~~~python\nx = ~~~1  # it's\n~~~\nno", "", "x = ~~~1  # it's"),
    "marks in a comment": ("```py\n# it's ``` here\nx = 1\n```", "", "# it's ``` here\nx = 1"),
    "a line that goes on": ("```py\ny = 'a\\\n```'\n```", "", "y = 'a\\\n```'"),
    "blanks in a string": ('```py\nx = """a\n   \nb"""\n```', "", 'x = """a\n   \nb"""'),
    "a quote that never ends": ("```py\nprint('a)\n```\nDone.", "", "print('a)"),
    "line ends of Windows": ("Thought: A\r\nb.\r\n```python\r\nx = 1\r\nprint(x)\r\n```\r\n", "A\nb.", CODE),
    "byte order mark": (f"\ufeff```python\n{CODE}\n```", "", CODE),
    "half a character": ("```python\nprint('\ufffd')\n```\ufffd", "", "print('\ufffd')"),
    "inline, twice": ("Use ```no()``` and ```\nno", "Use ```no()``` and ```\nno", None),
}


@pytest.mark.parametrize("form", FORMS)
def test_thought_and_action_are_found(form: str) -> None:
    text, thought, code = FORMS[form]
    reply = read(text)
    assert (reply.thought, reply.code) == (thought, code)


def fed(pieces: list[str]) -> tuple[Reply, bool]:
    scanner = FenceScanner()
    for piece in pieces:
        if scanner.feed(piece):
            break
    return scanner.read(), scanner.is_complete


@pytest.mark.parametrize("form", FORMS)
def test_letter_by_letter_is_the_same_as_at_once(form: str) -> None:
    text = FORMS[form][0]
    reply, is_complete = fed(list(text))
    assert (reply.thought, reply.code) == (read(text).thought, read(text).code)
    assert is_complete == (fed([text])[1])


@given(form=st.sampled_from(sorted(FORMS)), sizes=st.lists(st.integers(1, 30), min_size=1))
def test_in_pieces_of_any_size_it_is_the_same(form: str, sizes: list[int]) -> None:
    text = FORMS[form][0]
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    reply, _ = fed(pieces)
    assert (reply.thought, reply.code) == (read(text).thought, read(text).code)


@given(st.text(alphabet="`~ \npythonx='\"<>/k#(1)", max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    reply = read(text)
    assert 0 <= reply.end <= len(text)


def test_it_is_complete_at_the_closing_fence_and_not_before() -> None:
    text = f"Add.\n```python\n{CODE}\n```"
    scanner = FenceScanner()
    for index, letter in enumerate(text, 1):
        assert scanner.feed(letter) == (index == len(text))


def test_what_follows_the_action_is_not_in_the_text_that_is_kept() -> None:
    text = f"Add.\n```python\n{CODE}\n```\nObservation: 1\nI am done."
    scanner = FenceScanner()
    assert scanner.feed(text)
    assert "Observation" not in scanner.text[: scanner.read().end]
