"""One request under way: what is printed is gathered, redrawn, bounded, and what is left out is said."""

from __future__ import annotations

import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm.std import tqdm  # type: ignore[import-untyped]

from cellwright.outputs import CellOutput, Clear, Display, Failure, Stream, plain_text, show
from cellwright.sandbox.base import Call, Callbacks, CallResult, Raised
from cellwright.sandbox.cell import MESSAGES, SLACK, Cell, failing_line
from cellwright.terminal import Printed, Screen, moves, written_over


class Heard:
    """A cell, and what those who listen to it have heard."""

    def __init__(self, output_bytes: int = 1 << 20) -> None:
        self.outputs: list[CellOutput] = []
        self.cell = Cell("id", "code", Callbacks(self._on_output, self._on_call), output_bytes)

    async def _on_output(self, output: CellOutput) -> None:
        self.outputs.append(output)

    async def _on_call(self, call: Call) -> CallResult:
        return Raised("none")

    async def end(self) -> list[CellOutput]:
        await self.cell.flush()
        await self.cell.say_what_was_dropped()
        return self.outputs

    @property
    def shown(self) -> str:
        shown: list[CellOutput] = []
        for output in self.outputs:
            show(shown, output)
        return "\n".join(map(plain_text, shown))


def bar(steps: int = 10_000, below: int = 0) -> str:
    """What tqdm writes to a file; with bars below each step when `below` is set."""
    file = io.StringIO()
    for _ in tqdm(range(steps), file=file, mininterval=0):
        for _ in tqdm(range(below), file=file, mininterval=0, leave=False, disable=not below):
            pass
    return file.getvalue()


async def test_e7_a_bar_of_ten_thousand_steps_is_one_line() -> None:
    heard = Heard()
    text = bar()
    for start in range(0, len(text), 50_000):
        await heard.cell.take(Stream("stderr", text[start : start + 50_000]))
    outputs = await heard.end()
    assert len(outputs) < 15
    assert sum(len(plain_text(output)) for output in outputs) < 2_000
    assert len(heard.shown.splitlines()) == 1
    assert heard.shown.startswith("100%")


async def test_bars_below_bars_are_few_lines() -> None:
    heard = Heard()
    writes = bar(20, 200).split("\r")
    for write in writes:
        await heard.cell.take(Stream("stderr", "\r" + write))
        if heard.cell.pending and len(heard.cell.pending.text) > 3_000:
            await heard.cell.flush()
    await heard.end()
    assert len(heard.shown.splitlines()) < 5
    assert "20/20" in heard.shown


async def test_text_and_the_limit_are_kept_to_the_character() -> None:
    heard = Heard(output_bytes=1_000)
    for _ in range(100):
        await heard.cell.take(Stream("stdout", "x" * 100))
    *text, note = await heard.end()
    assert sum(len(plain_text(output)) for output in text) == 1_000 + SLACK
    assert note == Stream("stderr", f"\n… {10_000 - 1_000 - SLACK:,} more characters of output were not kept.\n")


async def test_displays_are_bounded_together() -> None:
    heard = Heard(output_bytes=1_000)
    for _ in range(10):
        await heard.cell.take(Display({"image/png": "A" * 4_000}))
    *displays, note = await heard.end()
    assert len(displays) == 4
    assert "6 more outputs were not kept" in plain_text(note)


async def test_outputs_are_counted() -> None:
    heard = Heard()
    for number in range(MESSAGES + 10):
        await heard.cell.take(Display({"text/plain": str(number)}) if number % 2 else Clear())
    *outputs, note = await heard.end()
    assert len(outputs) == MESSAGES
    assert plain_text(note).strip() == "… 10 more outputs were not kept."


async def test_order_is_kept_between_streams_and_displays() -> None:
    heard = Heard()
    for output in (Stream("stdout", "a"), Stream("stderr", "b"), Stream("stdout", "c"), Display({"text/plain": "d"})):
        await heard.cell.take(output)
    await heard.cell.take(Stream("stdout", "e"))
    assert [plain_text(output) for output in await heard.end()] == list("abcde")


async def test_what_stands_below_the_cursor_is_told_in_the_end() -> None:
    heard = Heard()
    await heard.cell.take(Stream("stdout", "above\nbelow\x1b[A"))
    await heard.cell.flush()
    await heard.cell.take(Display({"text/plain": "picture"}))
    assert "".join(map(plain_text, await heard.end())) == "above\nbelowpicture"


async def test_text_that_keeps_coming_is_passed_on_meanwhile() -> None:
    heard = Heard()
    for number in range(20):
        await heard.cell.take(Stream("stdout", f"{number}\n"))
        await asyncio.sleep(0.02)
    assert heard.outputs


def test_the_failing_line_is_that_of_the_newest_cell() -> None:
    trace = ("Cell In[1], line 7", "Cell \x1b[32mIn[2]\x1b[39m, line 3", "File x.py:9")
    assert failing_line(Failure("E", "v", trace)) == 3
    assert failing_line(Failure("E", "v", ())) is None


# ---- the terminal --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\rb", "b"),
        ("abc\rX", "Xbc"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("abc\b\bX", "aXc"),
        ("long line\r\x1b[2Kok", "ok"),
        ("long line\rok\x1b[K", "ok"),
        ("one\ntwo\x1b[A\rONE", "ONE\ntwo"),
        ("one\x1b[9A\rX", "Xne"),
        ("a\x1b[9999999999Ab", "ab"),
        ("\x1b[31mred\x1b[0m\r\x1b[32mgreen\x1b[0m", "\x1b[32mgreen\x1b[0m"),
        ("10%\r20%\nnext\r", "20%\nnext"),
    ],
)
def test_what_a_terminal_shows(text: str, shown: str) -> None:
    assert written_over("", text) == shown


@given(st.lists(st.text(alphabet="ab\n\r\b", max_size=8), max_size=6))
def test_pieces_show_what_the_whole_shows(pieces: list[str]) -> None:
    shown = ""
    for piece in pieces:
        shown = written_over(shown, piece)
    printed, told = Printed(), ""
    for piece in pieces:
        told = written_over(told, printed.news(piece))
    told = written_over(told, printed.rest())
    assert lines(told) == lines(shown)


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n")]


@given(st.text(alphabet="ab\n\r\b\x1b[]0123;mAKB", max_size=60))
def test_nothing_that_moves_the_cursor_is_told(text: str) -> None:
    printed = Printed()
    told = printed.news(text) + printed.rest()
    assert not moves(told.replace("\r", ""))


def test_an_endless_line_costs_little() -> None:
    printed = Printed()
    for _ in range(2_000):
        assert len(printed.news("x" * 1_000 + "\r")) <= 4_002


def test_many_rows_below_are_not_lost() -> None:
    printed = Printed()
    told = printed.news("\n".join(map(str, range(1_000))) + "\x1b[999A\rX") + printed.rest()
    assert lines(told) == ["X", *map(str, range(1, 1_000))]


def test_the_cursor_stays_on_the_screen() -> None:
    screen = Screen("a")
    screen.write("\x1b[5B\x1b[5A\x1b[K\b\b\bx")
    assert screen.lines() == ["x"]
