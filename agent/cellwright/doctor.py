"""What this machine can do, and what to do where it can't. Data only; the command line draws it."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from .errors import ModelError
from .models import choice, embedded, weights
from .settings import Settings

PACKAGES = ("litellm", "ipykernel", "jupyter_client", "xllamacpp", "pandas", "pyarrow")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool | None
    """None: neither good nor bad, only a fact."""
    detail: str
    fix: str = ""
    """What to do, when it is not ok."""


async def examine(settings: Settings) -> Sequence[Check]:
    """Look at everything. Takes a few seconds; asks no provider and shows no key."""
    return [
        _python(),
        _packages(),
        await _model(settings),
        _keys(),
        await _ollama(),
        _weights(),
        await _runtime(),
        _kernelspec(),
        _journal(settings),
        _isolation(settings),
    ]


def _isolation(settings: Settings) -> Check:
    fence = settings.isolation
    if fence.level == "process":
        detail = "process: code that the agent writes is not isolated from this machine"
        return Check("isolation", None, detail, "`--isolation auto` isolates it")
    return Check("isolation", None, f"{fence.level}, network {fence.network}; whether it works is said under sandbox")


def _python() -> Check:
    return Check("python", True, f"{platform.python_version()} at {sys.executable}, {platform.platform(terse=True)}")


def _packages() -> Check:
    versions = []
    for name in ("cellwright", *PACKAGES):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} missing")
    return Check("packages", None, ", ".join(versions))


async def _model(settings: Settings) -> Check:
    try:
        chosen = await choice.choose(settings.model)
    except ModelError as error:
        return Check("model", False, "none", str(error))
    why = f"set by {settings.sources['model']}" if "model" in settings.sources else chosen.why
    await chosen.model.aclose()
    return Check("model", True, f"{chosen.model.name} ({why})")


def _keys() -> Check:
    found = choice.keys_present()
    return Check("keys", None, f"set: {', '.join(found)}" if found else "none set")


async def _ollama() -> Check:
    host = choice.ollama_host()
    installed = await choice.ollama_models(host)
    return Check("ollama", None, f"{', '.join(installed)} at {host}" if installed else f"none at {host}")


def _weights() -> Check:
    if path := weights.find():
        return Check("embedded model", True, str(path))
    return Check("embedded model", None, "not fetched", "`cellwright model pull` gets it (1.1 GB, once)")


async def _runtime() -> Check:
    """Import llama.cpp in a process of its own: on an unfit processor it ends the process that tries."""
    name = "llama.cpp"
    if find_spec("xllamacpp") is None:
        return Check(name, None, "not installed", "pip install 'cellwright[embedded]'")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import xllamacpp; print(xllamacpp.__version__)",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complaint = await process.communicate()
    if process.returncode == 0:
        return Check(name, True, f"xllamacpp {said.decode().strip()}")
    lines = complaint.decode(errors="replace").strip().splitlines() or [""]
    return Check(name, False, "does not start", embedded.cause(process.returncode or 0, lines[-1]))


def _kernelspec() -> Check:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("cellwright")
    except NoSuchKernel:
        return Check("kernelspec", False, "Jupyter does not list the Cellwright kernel", "`cellwright install --user`")
    return Check("kernelspec", True, str(spec.resource_dir))


def _journal(settings: Settings) -> Check:
    from .journal import default_path

    path = settings.journal or default_path()
    if path is None:
        return Check("journal", None, "kept in memory only: nothing stays after the kernel ends")
    place = path
    while not place.exists():
        place = place.parent
    if os.access(place, os.W_OK) and (place.is_dir() or Path(place) == path):
        return Check("journal", True, str(path))
    return Check("journal", False, f"{path} can't be written", "name another file in CELLWRIGHT_JOURNAL")
