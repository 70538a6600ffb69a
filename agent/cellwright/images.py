"""Images on their way to a model that sees: from whatever a person has at hand, and from what code showed.

A model is billed by the pixel and shrinks what is larger than it can use, so images are made small before they are
sent. Pillow does that, where it is installed; without it, small files go as they are and large ones are refused. What a
sandbox shows is never trusted: only PNG and JPEG are taken, within bounds, and what can't be read is left out.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError, one_line
from .outputs import Display

if TYPE_CHECKING:
    from .run import Step

LONGEST_SIDE = 1568
"""Pixels; models shrink what is larger."""
MOST_BYTES = 1_000_000
"""Of an image as it is sent, before base64."""
MOST_READ = 50_000_000
"""Bytes of a file that is given; a larger one is no picture for a model."""
MOST_PIXELS = 64_000_000
"""Of an image that is made smaller: unpacked, it takes four bytes each."""
_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_SHOWN = ("image/png", "image/jpeg")
_WHAT = "Give a path, bytes, a PIL image, a matplotlib figure or an array of uint8."


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it is sent."""

    mime: str
    """`image/png`, `image/jpeg`, `image/gif` or `image/webp`."""
    data: str
    """Base64."""

    @property
    def url(self) -> str:
        """The image as a `data:` URL."""
        return f"data:{self.mime};base64,{self.data}"


async def as_images(values: Iterable[object]) -> tuple[Image, ...]:
    """Each value as an image, made small in a thread. Raises `UsageError`."""
    return tuple([await asyncio.to_thread(as_image, value) for value in values])


def as_image(value: object) -> Image:
    """A path, bytes, PIL image, matplotlib figure or uint8 array as an image of bounded size. Raises `UsageError`."""
    if isinstance(value, Image):
        return value
    if isinstance(value, str | os.PathLike):
        return _small(_read(Path(value)), str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return _small(bytes(value), "the image")
    drawn: Any = value
    if hasattr(drawn, "savefig"):
        file = io.BytesIO()
        drawn.savefig(file, format="png", bbox_inches="tight")
        return _small(file.getvalue(), "the figure")
    pillow = sys.modules.get("PIL.Image")
    if pillow and isinstance(value, pillow.Image):
        return _shrunk(value, "the image")
    if hasattr(value, "__array_interface__"):
        return _shrunk(_from_array(value), "the array")
    raise UsageError(f"No image: {type(value).__name__}. {_WHAT}")


def images_of(step: Step, limit: int = 2) -> tuple[Image, ...]:
    """The last `limit` images that an action showed; what can't be read or made small is left out."""
    found: list[Image] = []
    for output in reversed(step.outputs):
        if len(found) == limit:
            break
        if not isinstance(output, Display):
            continue
        data = next((output.data[mime] for mime in _SHOWN if isinstance(output.data.get(mime), str)), "")
        if data and len(data) < MOST_READ:
            with contextlib.suppress(UsageError, binascii.Error, ValueError):
                found.append(_small(base64.b64decode(data), "the plot", _SHOWN))
    return tuple(reversed(found))


def _read(path: Path) -> bytes:
    path = path.expanduser()
    try:
        if path.stat().st_size > MOST_READ:
            raise UsageError(f"{path} is larger than the {MOST_READ // 1_000_000} MB that an image may have.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or one_line(str(error))
        raise UsageError(f"The image {one_line(str(path), 120)!r} can't be read: {why}.") from error


def _small(content: bytes, what: str, allowed: tuple[str, ...] = ()) -> Image:
    """The file as it is when it is small, else made so."""
    mime = next((mime for magic, mime in _MAGIC.items() if content.startswith(magic)), "")
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        mime = "image/webp"
    if not content or (allowed and mime not in allowed):
        raise UsageError(f"{what} is no image. {_WHAT}")
    pillow = _pillow()
    if pillow is None:
        if not mime or len(content) > MOST_BYTES:
            why = "is too large to be sent as it is" if mime else "is no PNG, JPEG, GIF or WebP file"
            raise UsageError(f"{what} {why}, and converting it needs Pillow: `pip install pillow`.")
        return Image(mime, base64.b64encode(content).decode())

    formats = [name.removeprefix("image/").upper() for name in allowed] or None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the number of pixels is looked at below
            picture = pillow.open(io.BytesIO(content), formats=formats)
        _check_pixels(picture, what)
        if mime and len(content) <= MOST_BYTES and max(picture.size) <= LONGEST_SIDE:
            picture.verify()
            return Image(mime, base64.b64encode(content).decode())
        return _shrunk(picture, what)
    except (OSError, SyntaxError, ValueError, OverflowError, pillow.DecompressionBombError) as error:
        raise UsageError(f"{what} is no image that can be read: {one_line(str(error), 120)}.") from error


def _shrunk(picture: Any, what: str) -> Image:
    """A PIL image within the bounds: PNG, or JPEG where that would be too large."""
    _check_pixels(picture, what)
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    small = picture.convert("RGBA" if has_alpha else "RGB")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    file = io.BytesIO()
    small.save(file, "PNG", optimize=False)
    if file.tell() <= MOST_BYTES:
        return Image("image/png", base64.b64encode(file.getvalue()).decode())
    if has_alpha:  # JPEG knows no transparency: on white, as a page would show it
        white = _pillow().new("RGB", small.size, "white")
        white.paste(small, mask=small.getchannel("A"))
        small = white
    for quality in (88, 70, 50, 30):
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality)
        if file.tell() <= MOST_BYTES:
            break
    return Image("image/jpeg", base64.b64encode(file.getvalue()).decode())


def _check_pixels(picture: Any, what: str) -> None:
    width, height = picture.size
    if not width or not height or width * height > MOST_PIXELS:
        raise UsageError(f"{what} has {width} x {height} pixels, {MOST_PIXELS // 1_000_000} million are allowed.")


def _from_array(value: object) -> Any:
    pillow = _pillow()
    if pillow is None:
        raise UsageError("An array as an image needs Pillow: `pip install pillow`.")
    shape: tuple[int, ...] = tuple(getattr(value, "shape", ()))
    kind = str(getattr(value, "dtype", ""))
    if kind != "uint8" or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (3, 4)):
        raise UsageError(f"An array of {kind} {shape} is no image; it must be uint8, height x width (x 3 or 4).")
    return pillow.fromarray(value)


def _pillow() -> Any:
    """The module `PIL.Image`, or None where Pillow is not installed."""
    try:
        import PIL.Image
    except ImportError:
        return None
    return PIL.Image
