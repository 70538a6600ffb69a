"""Whether an output that was computed again is the one on record: the same, different without harm, or different.

Two runs of the same code rarely print the same bytes: clocks tick, objects lie elsewhere in memory, sets come in
another order, the last digits of floats depend on the machine. Each such difference is known by its form and has a
name; what is left over is a difference. Nothing that was recorded is evaluated.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from enum import IntEnum
from typing import TYPE_CHECKING

from ..outputs import CellOutput, Display, Failure, Json, Stream, plain_text

if TYPE_CHECKING:
    from PIL.Image import Image

RELATIVE = 1e-6
"""Floats that differ by no more than this part of their size are taken as equal, as are tiny ones near zero."""
ABSOLUTE = 1e-12
IMAGE_DIFFERENCE = 0.05
"""Difference of a colour, of 1, in the mean of a block of 8 by 8 pixels, up to which two images are taken as one: a
mean of the whole picture would not see a digit that was changed in it (0.09 and more), nor a bar made higher."""
IMAGE_BLOCK = 8
IMAGE_PIXELS = 50_000_000
"""A larger image is not decoded."""


class Degree(IntEnum):
    """How much differs."""

    SAME = 0
    HARMLESS = 1
    DIFFERENT = 2


@dataclass(frozen=True, slots=True)
class Likeness:
    """How two outputs compare."""

    degree: Degree = Degree.SAME
    reasons: tuple[str, ...] = ()
    """What differs, in words."""

    def __and__(self, other: Likeness) -> Likeness:
        return Likeness(max(self.degree, other.degree), tuple(dict.fromkeys(self.reasons + other.reasons)))


def harmless(reason: str) -> Likeness:
    """A difference that does no harm."""
    return Likeness(Degree.HARMLESS, (reason,))


def different(reason: str) -> Likeness:
    """A difference."""
    return Likeness(Degree.DIFFERENT, (reason,))


SAME = Likeness()


def compare_outputs(then: Sequence[CellOutput], now: Sequence[CellOutput]) -> Likeness:
    """What an action showed when it was recorded, and what it shows now."""
    found = SAME
    for name in ("stdout", "stderr"):
        found &= compare_text(_printed(then, name), _printed(now, name), name)
    old, new = _shown(then), _shown(now)
    if failure := next((one for one in new if isinstance(one, Failure) and len(old) != len(new)), None):
        return found & different(f"{failure.ename}: {failure.evalue[:100]}")
    if len(old) != len(new):
        return found & different(f"{_count(len(new), 'output')} instead of {len(old)}")
    for before, after in zip(old, new, strict=True):
        found &= _compare(before, after)
    return found


def compare_text(then: str, now: str, what: str = "text") -> Likeness:
    """Two texts: equal, or equal but for what is known to change from one time to the next."""
    if then == now:
        return SAME
    reasons: list[str] = []
    for reason, mask in _MASKS:
        masked = mask(then), mask(now)
        if masked != (then, now) and then != now:
            reasons.append(reason)
        then, now = masked
        if then == now:
            return Likeness(Degree.HARMLESS, tuple(reasons))
    if reason := _numbers_agree(then, now):
        return Likeness(Degree.HARMLESS, (*reasons, reason))
    if _same_members(then, now):
        return Likeness(Degree.HARMLESS, (*reasons, "order of a set"))
    return different(f"{what}: {_difference(then, now)}")


def compare_json(then: Json, now: Json) -> Likeness:
    """Two JSON values, floats within tolerance."""
    if isinstance(then, Mapping) and isinstance(now, Mapping) and then.keys() == now.keys():
        return _all(compare_json(then[key], now[key]) for key in then)
    if isinstance(then, list | tuple) and isinstance(now, list | tuple) and len(then) == len(now):
        return _all(compare_json(*pair) for pair in zip(then, now, strict=True))
    if isinstance(then, bool) == isinstance(now, bool) and then == now:  # in Python True == 1, in JSON not
        return SAME
    # Whole numbers count things: they are equal, or different.
    if isinstance(then, float | int) and isinstance(now, float | int) and _is_one_float(then, now) and _near(then, now):
        return harmless(f"floats within {RELATIVE:g}")
    if isinstance(then, str) and isinstance(now, str):
        return compare_text(then, now)
    return different(f"{json.dumps(now)[:80]} instead of {json.dumps(then)[:80]}")


# ---- outputs ---------------------------------------------------------------------------------------------------------


def _printed(outputs: Sequence[CellOutput], name: str) -> str:
    return "\n".join(plain_text(output) for output in outputs if isinstance(output, Stream) and output.name == name)


def _shown(outputs: Sequence[CellOutput]) -> list[Display | Failure]:
    return [output for output in outputs if isinstance(output, Display | Failure)]


def _compare(then: Display | Failure, now: Display | Failure) -> Likeness:
    if isinstance(then, Failure) and isinstance(now, Failure):
        if then.ename != now.ename:
            return different(f"{now.ename} instead of {then.ename}")
        return compare_text(then.evalue, now.evalue, then.ename)
    if isinstance(then, Failure) or isinstance(now, Failure):
        return different(f"{_kind(now)} instead of {_kind(then)}")
    if then.data.keys() != now.data.keys():
        return different(f"shown as {', '.join(sorted(now.data))} instead of {', '.join(sorted(then.data))}")
    return _all(_compare_mime(mime, then.data[mime], now.data[mime]) for mime in then.data)


def _kind(output: Display | Failure) -> str:
    return output.ename if isinstance(output, Failure) else "an output"


def _compare_mime(mime: str, then: Json, now: Json) -> Likeness:
    if isinstance(then, str) and then == now:
        return SAME
    if mime in ("image/png", "image/jpeg") and isinstance(then, str) and isinstance(now, str):
        return _compare_images(then, now)
    if isinstance(then, str) and isinstance(now, str):
        return compare_text(then, now, mime)
    return compare_json(then, now)


def _compare_images(then: str, now: str) -> Likeness:
    try:
        from PIL import Image, ImageChops, ImageStat
    except ImportError:
        return different("the image's bytes; Pillow, which could compare them, is not there (cellwright[images])")
    try:
        # Only what the two mime types say: of the others, some start a program to be read.
        pictures = [Image.open(io.BytesIO(base64.b64decode(text)), formats=("PNG", "JPEG")) for text in (then, now)]
        if pictures[0].size != pictures[1].size:
            return different(f"an image of {pictures[1].size} pixels instead of {pictures[0].size}")
        if math.prod(pictures[0].size) > IMAGE_PIXELS:
            return different("an image too large to be compared")
        blocks = ImageChops.difference(*map(_on_white, pictures)).reduce(IMAGE_BLOCK)
        off = max(ImageStat.Stat(band).extrema[0][1] for band in blocks.split()) / 255
    except Exception as error:  # noqa: BLE001 - a picture out of a notebook: Pillow fails in many ways on what is none
        return different(f"an image that can't be read ({type(error).__name__})")
    if off <= IMAGE_DIFFERENCE:
        return harmless(f"image, {off:.2%} off" if off >= 0.0001 else "image, by less than can be seen")
    return different(f"the image, {off:.1%} off where they differ most")


def _on_white(picture: Image) -> Image:
    """As it is seen on a page; without this, what is transparent counts as what it hides."""
    from PIL import Image

    seen = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


# ---- text ------------------------------------------------------------------------------------------------------------


def _masked(pattern: str, by: str, flags: re.RegexFlag = re.RegexFlag.NOFLAG) -> Callable[[str], str]:
    compiled = re.compile(pattern, flags)
    return lambda text: compiled.sub(by, text)


def _clocks(text: str) -> str:
    """Times of day and durations, in lines that say that they measure time; elsewhere they may be the result."""
    return "\n".join(_CLOCK.sub("(time)", line) if _MEASURES.search(line) else line for line in text.split("\n"))


_MEASURES = re.compile(
    r"\b(took|elapsed|seconds? ago|done in|finished in|ran in|(wall|cpu|run|elapsed) times?|per loop)\b|it/s|s/it", re.I
)
_CLOCK = re.compile(
    r"\b(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?|\d{1,2}:\d\d(:\d\d)?(\.\d+)?"
    r"|\d+(\.\d+)?(e-?\d+)? ?(ns|[µμu]s|ms|s|secs?|seconds?|min|minutes?|it/s|s/it))\b"
)
_MASKS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("memory addresses", _masked(r"\b0x[0-9a-f]{6,16}\b(?=[^\n]{0,300}>)", "0x…", re.IGNORECASE)),
    ("the workspace's name", _masked(r"(?<![\w./~-])[\w./~-]*\d{4}-\d\d-\d\d-[0-9a-f]{6}\b", "…")),
    ("times", _clocks),
    ("identifiers in HTML", _masked(r"(?<=T_)[0-9a-f]{5}(?=[_\"\s])", "…")),
    ("identifiers", _masked(r"\b[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\b", "…")),
    ("process numbers", _masked(r"\b(pid|PID)([ =:]+)\d+", r"\1\2…")),
)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?(?![\w.])")


def _numbers_agree(then: str, now: str) -> str:
    """What differs where only blanks within lines do, and floats within tolerance; else nothing."""
    # pandas pads columns: one digit more or less moves the blanks.
    if _words(_NUMBER.sub("#", then)) != _words(_NUMBER.sub("#", now)):
        return ""
    pairs = list(zip(_NUMBER.findall(then), _NUMBER.findall(now), strict=True))
    if all(old == new for old, new in pairs):
        return "blanks"
    agree = all(old == new or (_is_float(old, new) and _near(float(old), float(new))) for old, new in pairs)
    return f"floats within {RELATIVE:g}" if agree else ""


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.rstrip().split("\n")]


def _is_float(*numbers: str) -> bool:
    """Whole numbers count things: they are equal, or different."""
    return any(mark in number for number in numbers for mark in ".eE")


def _is_one_float(then: Json, now: Json) -> bool:
    return float in (type(then), type(now)) and bool not in (type(then), type(now))


def _near(old: float, new: float) -> bool:
    try:
        are_finite = math.isfinite(old) and math.isfinite(new)
        return are_finite and math.isclose(old, new, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    except OverflowError:  # a whole number beyond all floats
        return False


def _same_members(then: str, now: str) -> bool:
    """True when the texts differ only in the order within braces, as sets are printed."""
    outside = re.compile(r"(?<![\w\\])\{[^{}]*\}")  # after a letter or a \\ it is a pattern or TeX
    if outside.sub("{}", then) != outside.sub("{}", now):
        return False
    pairs = zip(outside.findall(then), outside.findall(now), strict=True)
    return all(old == new or (":" not in old and _members(old) == _members(new)) for old, new in pairs)


def _members(text: str) -> Counter[str]:
    return Counter(member.strip() for member in text.strip("{}").split(","))


def _difference(then: str, now: str) -> str:
    lines = [
        line
        for line in unified_diff(then.splitlines(), now.splitlines(), lineterm="", n=0)
        if line[:2] not in ("--", "++", "@@")
    ]
    shown = "; ".join(line[:100] for line in lines[:4])
    return shown + (f"; {len(lines) - 4} more" if len(lines) > 4 else "") or "blanks at the ends of lines"


def _all(found: Iterable[Likeness]) -> Likeness:
    whole = SAME
    for one in found:
        whole &= one
    return whole


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
