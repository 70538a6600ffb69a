"""Folders of a sandbox: which workspace is refused, whose it becomes, and the run folder with the kernel's sockets."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cellwright.errors import SandboxUnavailable

RUN_PREFIX = "cellwright-"
SYSTEM = tuple(
    Path(path) for path in "/ /bin /boot /dev /etc /lib /lib64 /proc /root /run /sbin /sys /tmp /usr /var".split()
)
"""Never a workspace, and never read as a whole."""
NEW_SECONDS = 30.0
"""How long a run folder is left alone, whatever its lock says."""
DEEPEST = 100
"""How deep folders in a workspace may be nested."""
LEAST = 4096
"""Bytes that each name counts for: empty files fill a disk, too."""


def check_workspace(workspace: Path, prefixes: Iterable[Path]) -> None:
    """Raises `SandboxUnavailable` for a folder in which code could change what runs outside the sandbox."""
    if not workspace.is_dir():
        raise refused(workspace, "is no folder")
    if workspace in SYSTEM:
        raise refused(workspace, "is a folder of the system")
    for what, place in places_of_the_person():
        if place.is_relative_to(workspace):
            raise refused(workspace, f"is or holds {what} ({place})")
    for environment in {folder.resolve() for folder in (Path(sys.prefix), Path(sys.base_prefix), *prefixes)}:
        # Inside one, too: code could plant a module that the host imports.
        if environment.is_relative_to(workspace) or workspace.is_relative_to(environment):
            raise refused(workspace, f"is, holds or lies in a Python environment ({environment})")
    runtime = runtime_folder()
    if workspace.is_relative_to(runtime):
        raise refused(workspace, f"lies in Jupyter's runtime directory ({runtime})")
    current = Path.cwd()
    for entry in filter(None, sys.path):
        path = Path(entry).resolve()
        if path != current and path.is_relative_to(workspace):
            raise refused(workspace, f"is or holds a folder that this process imports from ({path})")


def check_readable(paths: Sequence[Path]) -> None:
    """Raises `SandboxUnavailable` for what code must not read, or what does not exist."""
    runtime = runtime_folder()
    for path in paths:
        if not path.exists():
            raise SandboxUnavailable(f"{path} can't be made readable: it does not exist. No code was run.")
        if path in SYSTEM or path == Path.home():
            raise SandboxUnavailable(f"{path} can't be made readable as a whole: name what is needed. No code was run.")
        if path.is_relative_to(runtime) or runtime.is_relative_to(path):
            raise SandboxUnavailable(
                f"{path} can't be made readable: Jupyter's runtime directory ({runtime}) has the keys of your kernels. "
                "No code was run."
            )


def places_of_the_person() -> Iterator[tuple[str, Path]]:
    """What a workspace may neither be nor hold."""
    from jupyter_core.paths import jupyter_config_dir, jupyter_data_dir

    yield "the home directory", Path.home().resolve()
    yield "Jupyter's runtime directory", runtime_folder()
    yield "Jupyter's data directory", Path(jupyter_data_dir()).resolve()
    yield "Jupyter's configuration", Path(jupyter_config_dir()).resolve()


def runtime_folder() -> Path:
    """Where Jupyter keeps the connection files of running kernels."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir()).resolve()


def refused(workspace: Path, why: str) -> SandboxUnavailable:
    """The error for a workspace that won't do."""
    return SandboxUnavailable(
        f"The workspace {workspace} is refused: it {why}. No code was run; choose a folder made for it."
    )


def make_run_folder() -> Path:
    """A private folder for connection files and sockets. Short: a socket's path may have 107 characters."""
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    # Root's sandboxes run as another user, who can't pass through root's own folder.
    base = Path(own if own and len(own) < 40 and os.getuid() and os.access(own, os.W_OK) else "/tmp")
    remove_abandoned(base)
    folder = base / f"{RUN_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    (folder / "s").mkdir(mode=0o700)
    _held[folder] = descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return folder


_held: dict[Path, int] = {}
"""Run folder -> the lock that says that it is in use; the system lets go of it when this process ends."""


def remove_run_folder(folder: Path) -> None:
    """Remove it with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder in _held:
        os.close(_held.pop(folder))


def remove_abandoned(base: Path, older_than: float = NEW_SECONDS) -> None:
    """Remove run folders of ours whose process ended without doing so. The lock tells, in other containers, too.

    older_than: seconds.
    """
    for folder in base.glob(RUN_PREFIX + "*-*"):
        with contextlib.suppress(OSError), opened(folder) as descriptor:
            status = os.fstat(descriptor)
            # A new one may not be locked yet.
            if status.st_uid == os.getuid() and time.time() - status.st_ctime > older_than:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def give(workspace: Path, uid: int, is_sandbox: range) -> None:
    """Make the workspace, and what earlier sandboxes left in it, the sandbox user's; a person's own files stay theirs.

    Links are never followed, and a file with a second name is left alone: the other name may be outside. Raises
    `CantMeasure`, see `entries`.
    """
    with opened(workspace) as top:
        os.fchown(top, uid, uid)
        for _, here, name, found in entries(top):
            several_names = not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1
            if found.st_uid in is_sandbox and found.st_uid != uid and not several_names:
                os.chown(name, uid, uid, dir_fd=here, follow_symlinks=False)


@contextlib.contextmanager
def opened(folder: Path | str, beneath: int | None = None) -> Iterator[int]:
    """A folder's descriptor; raises `OSError` for a link."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=beneath)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entries(folder: int, depth: int = 0) -> Iterator[tuple[int, int, str, os.stat_result]]:
    """All that is in a folder that code may have filled, as (depth, its folder's descriptor, name, status).

    Step by step from open folders: code can put a link where a folder was at any moment. Raises `CantMeasure` for
    folders nested so deep that they would use up this process's descriptors, or that can't be opened.
    """
    with os.scandir(folder) as found:
        for entry in found:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield depth, folder, entry.name, status
            if not stat.S_ISDIR(status.st_mode):
                continue
            if depth == DEEPEST:
                raise CantMeasure(f"folders more than {DEEPEST} deep")
            try:
                with opened(entry.name, folder) as inner:
                    yield from entries(inner, depth + 1)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if error.errno == errno.ELOOP:
                    continue
                raise CantMeasure(f"a folder that can't be opened ({error.strerror})") from error


class CantMeasure(Exception):
    """A folder has something in it that keeps its size from being known; the text says what."""


def size_of(folder: Path) -> int:
    """Bytes on disk of all that is in a folder; each name counts as at least 4 KiB. Raises `CantMeasure`."""
    with opened(folder) as top:
        return sum(max(LEAST, status.st_blocks * 512) for _, _, _, status in entries(top))
