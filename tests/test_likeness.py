"""Outputs computed again: what differs without harm has a name, everything else is a difference."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import time
from pathlib import Path
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
    "blanks": ("a   b\n1  2", "a b \n1 2"),
    "memory addresses ": (f"<A object at 0x7f3a12bc4d50{' ' * 280}>", f"<A object at 0x7f99aabbccd0{' ' * 280}>"),
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
    ("Mean lap time: 12.5 s", "Mean lap time: 99.9 s"),
    ("Survival after treatment 5 min", "Survival after treatment 50 min"),
    ("It was 3 times 20 s", "It was 3 times 30 s"),
    ("1 2\n3", "1\n2 3"),
    ("a b", "a\nb"),
    ("1e999", "2e999"),
    ("a{1,3}", "a{3,1}"),
    ("\\{1, 3, \\}", "\\{3, 1, \\}"),
]


@pytest.mark.parametrize("reason", HARMLESS)
def test_a_harmless_difference_is_named(reason: str) -> None:
    found = compare_text(*HARMLESS[reason])
    assert found.degree == Degree.HARMLESS and any(reason.strip() in said for said in found.reasons), found


@pytest.mark.parametrize("pair", DIFFERENT)
def test_a_difference_is_one(pair: tuple[str, str]) -> None:
    assert compare_text(*pair).degree == Degree.DIFFERENT
    assert compare_text(*pair).reasons


@pytest.mark.parametrize("text", ["a/" * 100_000, "2026-11-21-" * 20_000, "0xabcdef1 " * 30_000, "{" * 200_000])
def test_a_text_made_to_be_slow_is_compared_at_once(text: str) -> None:
    begun = time.perf_counter()
    assert compare_text(f"1 {text}", f"2 {text}").degree == Degree.DIFFERENT
    assert time.perf_counter() - begun < 5


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


def chart(
    said: str = "mean = 42.1", high: float = 3.0, colour: str = "#1f77b4", shift: float = 0.0
) -> list[CellOutput]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=100)
    axes = figure.add_subplot()
    axes.bar([1, 2, 3], [2, high, 1], color=colour)
    axes.set_ylim(0, 5)
    axes.text(0.6 + shift, 4.5, said)
    kept = io.BytesIO()
    figure.savefig(kept, format="png")
    return shown({"image/png": base64.b64encode(kept.getvalue()).decode()})


def test_charts_with_another_number_bar_or_colour_differ() -> None:
    old = chart()
    assert compare_outputs(old, chart()).degree == Degree.SAME
    assert compare_outputs(old, chart(colour="#2078b5")).degree == Degree.HARMLESS
    for other in (
        chart("mean = 97.8"),
        chart("mean = 42.7"),
        chart(high=3.9),
        chart(high=3.05),
        chart(colour="#b41f77"),
    ):
        assert compare_outputs(old, other).degree == Degree.DIFFERENT


def test_colours_of_one_brightness_and_what_is_transparent_differ() -> None:
    def plain(colour: tuple[int, ...]) -> list[CellOutput]:
        kept = io.BytesIO()
        Image.new("RGBA" if len(colour) == 4 else "RGB", (40, 40), colour).save(kept, "png")
        return shown({"image/png": base64.b64encode(kept.getvalue()).decode()})

    assert compare_outputs(plain((255, 0, 0)), plain((0, 130, 0))).degree == Degree.DIFFERENT
    assert compare_outputs(plain((0, 0, 0, 0)), plain((0, 0, 0, 255))).degree == Degree.DIFFERENT


def test_only_what_the_type_says_is_decoded(tmp_path: Path) -> None:
    """A PostScript picture would be drawn by a program of the machine, with what stands in it."""
    mark = tmp_path / "ran"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    postscript = [f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 {n}\n%%EndComments\nshowpage\n" for n in (9, 9)]
    texts = [base64.b64encode(f"{text}% {n}".encode()).decode() for n, text in enumerate(postscript)]
    code = (
        "from cellwright.notebook.likeness import compare_outputs\nfrom cellwright.outputs import Display\n"
        f"print(compare_outputs([Display({{'image/png': {texts[0]!r}}})], [Display({{'image/png': {texts[1]!r}}})]))"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "can't be read (UnidentifiedImageError)" in done.stdout, done.stderr
    assert not mark.exists()


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
    assert compare_json({"n": 2_000_000}, {"n": 2_000_001}).degree == Degree.DIFFERENT
    assert compare_json([True], [1]).degree == Degree.DIFFERENT
    assert compare_json([True], [1.0000000001]).degree == Degree.DIFFERENT
    assert compare_json([True, 1, None], [True, 1.0, None]).degree == Degree.SAME
    assert compare_json(10**400, 10**400 + 1).degree == Degree.DIFFERENT
    assert compare_json(10**400, 1.5).degree == Degree.DIFFERENT
    assert compare_json(1e308, float("inf")).degree == Degree.DIFFERENT
    assert compare_outputs(shown({"application/json": True}), shown({"application/json": 1})).degree == Degree.DIFFERENT
