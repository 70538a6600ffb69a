"""The child kernel: it passes the suite, leaves nothing behind, and gets none of the host's keys."""

# ruff: noqa: ASYNC240 - a test has the loop to itself

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cellwright.errors import SandboxUnavailable
from cellwright.sandbox.base import Sandbox
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation, Level
from cellwright.sandbox.process import cause_of_death
from cellwright.sandbox.workspace import told
from sandbox_conformance import SandboxConformance, Seen

OPEN = Isolation(level="process")
"""Not isolated: the tests below look at the kernel's process from outside, by the number that it has there."""


class TestChildKernel(SandboxConformance):
    @pytest.fixture(params=["auto", "process"])
    async def sandbox(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sandbox]:
        kernel = ChildKernel(workspace=tmp_path, isolation=Isolation(level=request.param))
        await kernel.start()
        yield kernel
        await kernel.close()


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """Where this test's kernels make their temporary folders, and nobody else does."""
    before, path = tempfile.tempdir, Path(tempfile.mkdtemp(prefix="t-"))
    tempfile.tempdir = str(path)
    yield path
    tempfile.tempdir = before
    path.rmdir()  # fails where something was left


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


async def test_closing_leaves_no_process_and_no_folder(tmp_path: Path, folders: Path) -> None:
    kernel = ChildKernel(workspace=tmp_path, isolation=OPEN)
    seen = Seen(kernel)
    pid = int(await seen.result("import os; os.getpid()"))
    assert list(folders.iterdir())
    assert is_alive(pid)
    await kernel.close()
    await asyncio.sleep(0.1)
    assert not is_alive(pid)
    assert not list(folders.iterdir())


async def test_a_dead_kernel_leaves_no_folder(tmp_path: Path, folders: Path) -> None:
    kernel = ChildKernel(workspace=tmp_path)
    seen = Seen(kernel)
    await seen.run("1")
    first = set(folders.iterdir())
    assert first
    await seen.run("import os; os._exit(1)")
    assert await seen.is_usable()
    assert not first & set(folders.iterdir())
    await kernel.close()
    assert not list(folders.iterdir())


@pytest.mark.parametrize(("level", "passed"), [("process", "['PLAIN']"), ("auto", "[]")])
async def test_the_hosts_keys_are_not_in_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Level, passed: str
) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PLAIN"):
        monkeypatch.setenv(name, "value-to-look-for")
    kernel = ChildKernel(workspace=tmp_path, isolation=Isolation(level=level))
    found = await Seen(kernel).result("import os; sorted(k for k, v in os.environ.items() if 'value-to-look' in v)")
    await kernel.close()
    assert found == passed


@pytest.mark.parametrize(
    ("isolation", "said"), [(OPEN, ("process", "host")), (Isolation(level="bwrap", network="host"), ("bwrap", "host"))]
)
async def test_it_starts_in_the_workspace(tmp_path: Path, isolation: Isolation, said: tuple[str, str]) -> None:
    kernel = ChildKernel(workspace=tmp_path, isolation=isolation)
    facts = await kernel.start()
    await kernel.close()
    assert facts.workspace == told(tmp_path.resolve())
    assert (facts.isolation, facts.network, facts.instance) == (*said, 1)


async def test_d4_an_unknown_kernel_is_said(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="'nonsense' did not start") as error:
        await ChildKernel("nonsense", workspace=tmp_path).start()
    assert "\n" not in str(error.value)


async def test_a_workspace_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable) as error:
        await ChildKernel(workspace=tmp_path / "nowhere").start()
    assert "\n" not in str(error.value)


async def test_a_kernel_killed_while_idle_is_started_anew(tmp_path: Path) -> None:
    kernel = ChildKernel(workspace=tmp_path, isolation=OPEN)
    seen = Seen(kernel)
    pid = int(await seen.result("import os; os.getpid()"))
    os.kill(pid, 9)
    begun = time.monotonic()
    await asyncio.sleep(0.2)
    assert await seen.is_usable()
    assert time.monotonic() - begun < 10
    await kernel.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "ended"), (None, "ended"), (3, "exit status 3"), (-9, "SIGKILL; out of memory?"), (-99, "99")],
)
def test_causes_of_death(code: int | None, said: str) -> None:
    assert said in cause_of_death(code)
