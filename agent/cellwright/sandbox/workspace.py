"""The workspace: the one folder in which an isolated sandbox may write, and the host's way to it.

Code in the sandbox can put anything there, links to the person's own files included. So the host opens every part of a
path by itself and never follows a link (O_NOFOLLOW, openat(2)); what it writes replaces a name, not what the name
points to.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path, PurePosixPath

from ..errors import UsageError, WorkspaceError
from .base import File

FOLDER = "cellwright-files"
"""Where workspaces are made, beneath the current folder."""
LISTED = 1000
"""So many files are listed at most."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def new_workspace(beneath: Path | None = None) -> Path:
    """Make a folder for one session, e.g. `cellwright-files/2026-11-21-3f9a1c`. Raises `WorkspaceError`."""
    name = f"{date.today().isoformat()}-{secrets.token_hex(3)}"
    path = (beneath or Path.cwd()).resolve() / FOLDER / name
    try:
        path.mkdir(parents=True)
    except OSError:
        # A folder that can't be written to, e.g. a shared, read-only one: what code writes is kept with the journal.
        from jupyter_core.paths import jupyter_data_dir

        path = Path(jupyter_data_dir()) / "cellwright" / "workspaces" / name
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise WorkspaceError(f"No folder can be made for the sandbox's files: {error}.") from error
    return path


def told(workspace: Path) -> str:
    """A folder as a record may name it: from the current one, or its last two parts, so that no record holds a path."""
    here = Path.cwd()
    return str(workspace.relative_to(here)) if workspace.is_relative_to(here) else "/".join(workspace.parts[-2:])


def drop_if_empty(workspace: Path) -> None:
    """Remove a workspace in which nothing was kept, and the folder above it when it was the only one."""
    for path in (workspace, workspace.parent):
        if FOLDER in (path.name, path.parent.name):
            with contextlib.suppress(OSError):
                path.rmdir()


def files_of(workspace: Path) -> Sequence[File]:
    """All regular files, by name; links are not followed."""
    found: list[File] = []
    for folder, folders, names, descriptor in os.fwalk(workspace, follow_symlinks=False):
        folders.sort()
        for name in sorted(names):
            with contextlib.suppress(OSError):
                facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(facts.st_mode):
                    found.append(File(os.path.relpath(os.path.join(folder, name), workspace), facts.st_size))  # noqa: PTH118
        if len(found) >= LISTED:
            break
    return found[:LISTED]


def read_file(workspace: Path, name: str, limit: int) -> bytes:
    """The first `limit` bytes of a file in the workspace. Raises `WorkspaceError` for a link or no regular file."""
    parts = _parts(name)
    try:
        with _folder(workspace, parts[:-1]) as descriptor:
            # O_NONBLOCK: a pipe that code put there must not hold the host.
            file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
            with os.fdopen(file, "rb") as opened:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise WorkspaceError(f"{name} is no regular file.")
                return opened.read(limit)
    except OSError as error:
        raise WorkspaceError(f"{name} can't be read from the workspace: {error.strerror}.") from error


def copy_in(source: Path, workspace: Path, name: str, limit: int | None = None) -> None:
    """Copy a person's file into the workspace as `name`, unless what is there is newer. Raises `WorkspaceError`."""
    parts = _parts(name)
    try:
        facts = source.stat()
        if limit is not None and facts.st_size > limit:
            raise WorkspaceError(
                f"{source.name} has {facts.st_size:,} bytes, {limit:,} are allowed in the workspace; "
                f"`--read {source.parent}` lets code read it where it is."
            )
        with _folder(workspace, parts[:-1], make=True) as descriptor:
            with contextlib.suppress(FileNotFoundError):
                there = os.stat(parts[-1], dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(there.st_mode) and there.st_mtime_ns >= facts.st_mtime_ns:
                    return
            partial = f".{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(partial, flags, 0o644, dir_fd=descriptor)
            with source.open("rb") as reading, os.fdopen(target, "wb") as writing:
                shutil.copyfileobj(reading, writing, 1 << 20)
                os.fchmod(target, 0o644)
            os.utime(partial, ns=(facts.st_atime_ns, facts.st_mtime_ns), dir_fd=descriptor, follow_symlinks=False)
            os.rename(partial, parts[-1], src_dir_fd=descriptor, dst_dir_fd=descriptor)
    except OSError as error:
        raise WorkspaceError(f"{source} can't be copied into the workspace: {error.strerror}.") from error


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\x00" in name:
        raise UsageError(f"{name!r} is not the name of a file in the workspace.")
    return path.parts


@contextlib.contextmanager
def _folder(workspace: Path, parts: Sequence[str], make: bool = False) -> Iterator[int]:
    """A descriptor of the folder, each part opened by itself."""
    descriptor = os.open(workspace, _DIRECTORY)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=descriptor)
            inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)
