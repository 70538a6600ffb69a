"""What is to be started: settings, folders, the user it runs as, and what the kernelspec's command line means."""

from __future__ import annotations

import asyncio
import json
import shutil
import site
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cellwright.errors import SandboxUnavailable, one_line
from cellwright.sandbox.isolation import Isolation

ASK = """
import json, os, site, sys
user = site.getusersitepackages() if site.ENABLE_USER_SITE else ""
user = user if os.path.isdir(user) else ""
print(json.dumps([[sys.prefix, sys.base_prefix, sys.exec_prefix], user, user and site.getuserbase()]))
"""
ASK_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class KernelCommand:
    """A kernelspec's command line, taken apart."""

    python: str
    """Absolute path of the interpreter that runs inside first."""
    options: tuple[str, ...]
    """Its options before `-m`."""
    module: str
    """What it runs, e.g. `ipykernel_launcher`; empty when the command is not `python -m ...`."""
    rest: tuple[str, ...]
    """The module's arguments, or the whole command."""


@dataclass(frozen=True, slots=True)
class PythonPlace:
    """Where an interpreter lives: what must be readable for it to start."""

    prefixes: tuple[Path, ...]
    """Folders, none inside `/usr`."""
    links: tuple[Path, ...] = ()
    """Links on the way to the program that lie in none of the prefixes."""
    user_base: str = ""
    """Where a person has packages of their own (`pip install --user`); empty when there are none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a level needs to know."""

    settings: Isolation
    workspace: Path
    run: Path
    """Run folder on the host, see `folders`."""
    boot: Path
    """The folder of scripts that run inside."""
    kernel: KernelCommand
    python: PythonPlace
    programs: tuple[str, ...]
    """bubblewraps to try, in order."""
    uid: int | None
    """The user that root becomes; None for an ordinary person, who stays who they are."""


def take_apart(command: Sequence[str]) -> KernelCommand:
    """Find the interpreter and the module in a kernelspec's command line. Raises `SandboxUnavailable`."""
    program = shutil.which(command[0])
    if program is None:
        raise SandboxUnavailable(f"The kernelspec's program {command[0]!r} does not exist, so no code was run.")
    program = str(Path(program).absolute())
    for at, word in enumerate(command[1:], 1):
        if word == "-m" and at + 1 < len(command):
            return KernelCommand(program, tuple(command[1:at]), command[at + 1], tuple(command[at + 2 :]))
        if not word.startswith("-"):
            break
    return KernelCommand(sys.executable, (), "", (program, *command[1:]))


_answers: dict[str, tuple[list[str], str]] = {}
"""Interpreter -> its folders, and the base of a person's own packages."""


async def look_at(kernel: KernelCommand) -> PythonPlace:
    """Where the interpreter's files are; each is asked once. Raises `SandboxUnavailable`."""
    python = kernel.python
    if python == sys.executable and not site.ENABLE_USER_SITE:  # ours: asking takes as long as starting it
        _answers[python] = [sys.prefix, sys.base_prefix, sys.exec_prefix], ""
    if python not in _answers:
        asked = await asyncio.to_thread(_ask, python)
        if asked.returncode:
            why = one_line(asked.stderr) or f"exit status {asked.returncode}"
            raise SandboxUnavailable(f"The kernelspec's Python {python} does not run, so no code was run: {why}")
        prefixes, user_site, user_base = json.loads(asked.stdout)
        _answers[python] = [path for path in [*prefixes, user_site] if path], user_base
    paths, user_base = _answers[python]
    folders = [*map(Path, paths), *_program_folder(kernel)]
    # A prefix may be reached through a link, and what was compiled into a library is the real path.
    kept = tuple(outermost([*folders, *(folder.resolve() for folder in folders)]))
    return PythonPlace(kept, tuple(_links(Path(python), kept)), user_base)


def _ask(python: str) -> subprocess.CompletedProcess[str]:
    # Not -I: a person's own packages count. From a folder and an environment in which nothing else is theirs.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    return subprocess.run(
        [python, "-E", "-c", ASK],
        capture_output=True, text=True, cwd="/", env=environment, timeout=ASK_SECONDS, check=False,
    )  # fmt: skip


def _program_folder(kernel: KernelCommand) -> list[Path]:
    """The folder above `bin/` of a kernel that is a program of its own."""
    return [] if kernel.module else [Path(kernel.rest[0]).parent.parent]


def outermost(folders: Iterable[Path]) -> Iterator[Path]:
    """Each folder once, without those inside another or inside the system's `/usr`."""
    wanted = {folder for folder in folders if folder != Path("/") and not folder.is_relative_to("/usr")}
    for folder in sorted(wanted):
        if not any(folder != other and folder.is_relative_to(other) for other in wanted):
            yield folder


def _links(program: Path, prefixes: Sequence[Path]) -> Iterator[Path]:
    """`python` is often a chain of links (an environment's to pyenv's to the real one)."""
    for _ in range(40):
        if not any(program.is_relative_to(prefix) for prefix in [*prefixes, Path("/usr")]):
            yield program
        if not program.is_symlink():
            return
        program = program.parent / program.readlink()
