"""Outputs computed again: what differs without harm has a name, everything else is a difference."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cellwright.notebook.likeness import Degree, compare_json, compare_outputs, compare_text
from cellwright.outputs import CellOutput, Display, Failure, Stream

HARMLESS = {
    "memory addresses": ("<A object at 0x7f3a12bc4d50>", "<A object at 0x7f99aabbccd0>"),
    "times": ("done in 0.13 s at 2026-11-21 10:00:01", "done in 0.2 s at 2026-11-22 09:59:59.123"),
    "times ": ("Wall time: 1.2 ms", "Wall time: 870 µs"),
    "floats": ("mean = 0.30000000000000004", "mean = 0.3"),
    "order of a set": ("{'a', 'b', 'c'} and 3", "{'c', 'a', 'b'} and 3"),
    "the workspace's name": ("saved /x/cellwright-files/2026-11-21-3f9a1c/a.csv", "saved /y/2026-11-22-aaaaaa/a.csv"),
    "identifiers": ("id 3b241101-e2bb-4255-8caf-4136c566a962", "id 00000000-e2bb-4255-8caf-4136c566a963"),
    "process numbers": ("pid 4012", "pid 17"),
}
DIFFERENT = [
    ("42", "43"),
    ("mean = 0.3", "mean = 0.31"),
    ("n = 100000000", "n = 100000001"),
    ("Gentoo", "Adelie"),
    ("{'a', 'b'}", "{'a', 'c'}"),
    ("{'a': 1, 'b': 2}", "{'a': 2, 'b': 1}"),
    ("[1, 2]", "[2, 1]"),
    ("", "something"),
    ("2026", "2027"),
    ("1.5 kg", "1.6 kg"),
    ("mean duration: 12 min", "mean duration: 13 min"),
    ("2026-11-21 10:00:01  7.5", "2026-11-22 10:00:01  7.5"),
    ("0xdeadbeef12 is 5", "0xdeadbeef12 is 6"),
]


@pytest.mark.parametrize("reason", HARMLESS)
def test_a_harmless_difference_is_named(reason: str) -> None:
    found = compare_text(*HARMLESS[reason])
    assert found.degree == Degree.HARMLESS and any(reason.strip() in said for said in found.reasons), found


@pytest.mark.parametrize("pair", DIFFERENT)
def test_a_difference_is_one(pair: tuple[str, str]) -> None:
    assert compare_text(*pair).degree == Degree.DIFFERENT
    assert compare_text(*pair).reasons


@given(st.text(max_size=200))
def test_a_text_is_like_itself(text: str) -> None:
    assert compare_text(text, text).degree == Degree.SAME


@given(
    st.text(alphabet="0123456789.eE+-{}, ax:'\n", max_size=60), st.text(alphabet="0123456789.eE{}, ax:'\n", max_size=60)
)
def test_no_text_breaks_it_and_both_ways_agree(then: str, now: str) -> None:
    assert compare_text(then, now).degree == compare_text(now, then).degree


@given(st.integers(-(10**15), 10**15), st.integers(1, 1000))
def test_whole_numbers_are_never_near(number: int, more: int) -> None:
    assert compare_text(f"n = {number}", f"n = {number + more}").degree == Degree.DIFFERENT


def png(dot: tuple[int, int], colour: str = "red", size: tuple[int, int] = (200, 100)) -> str:
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).ellipse((*dot, dot[0] + 40, dot[1] + 40), fill=colour)
    kept = io.BytesIO()
    picture.save(kept, "png")
    return base64.b64encode(kept.getvalue()).decode()


def shown(data: dict[str, Any]) -> list[CellOutput]:
    return [Display(data)]


def test_images_within_tolerance() -> None:
    old = shown({"image/png": png((20, 20))})
    assert compare_outputs(old, shown({"image/png": png((20, 20), "#fe0000")})).degree == Degree.HARMLESS
    assert compare_outputs(old, shown({"image/png": png((140, 20), "black")})).degree == Degree.DIFFERENT
    assert compare_outputs(old, shown({"image/png": png((20, 20), size=(201, 100))})).degree == Degree.DIFFERENT
    assert compare_outputs(old, shown({"image/png": "bm9uc2Vuc2U="})).degree == Degree.DIFFERENT


def test_outputs_are_compared_one_by_one() -> None:
    table = shown({"text/plain": "   a\n0  1.0", "text/html": "<td>1.0</td>"})
    assert (
        compare_outputs(table, shown({"text/plain": "   a\n0  1.0", "text/html": "<td>1.0</td>"})).degree == Degree.SAME
    )
    assert compare_outputs(table, shown({"text/plain": "   a\n0  2.0", "text/html": "<td>2.0</td>"})).degree == 2
    assert compare_outputs(table, []).degree == Degree.DIFFERENT
    assert compare_outputs(table, shown({"text/plain": "   a\n0  1.0"})).degree == Degree.DIFFERENT
    failed: list[CellOutput] = [Failure("KeyError", "'x'")]
    assert compare_outputs(failed, [Failure("KeyError", "'x'", ("elsewhere",), 7)]).degree == Degree.SAME
    assert compare_outputs(failed, [Failure("ValueError", "'x'")]).degree == Degree.DIFFERENT
    parts: list[CellOutput] = [Stream("stdout", "a\nb\n")]
    assert compare_outputs(parts, [Stream("stdout", "a\nc\n")]).reasons == ("stdout: -b; +c",)


def test_json_within_tolerance() -> None:
    assert compare_json({"a": [1, 0.1 + 0.2]}, {"a": [1, 0.3]}).degree == Degree.HARMLESS
    assert compare_json({"a": [1]}, {"a": [2]}).degree == Degree.DIFFERENT
    assert compare_json({"a": 1}, {"b": 1}).degree == Degree.DIFFERENT
