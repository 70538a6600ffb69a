"""With nothing configured: what a fresh clone promises of the code in an agent's cell."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cellwright import CodeAgent
from cellwright.journal import Journal
from cellwright.models.scripted import ScriptedModel
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation

CANARY = "canary-to-look-for"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a key in it, readable by all; not under /tmp, where a sandbox has a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="cw-home-", dir="/var/tmp") as name:
        home = Path(name)
        (home / ".ssh").mkdir()
        (home / ".ssh" / "id_ed25519").write_text(CANARY)
        (home / "work").mkdir()
        for path in (home, *home.rglob("*")):
            path.chmod(0o755)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.chdir(home / "work")
        yield home


@pytest.fixture
def port() -> Iterator[int]:
    """A service on this machine that takes every connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def answer(code: str, sandbox: ChildKernel | None = None) -> object:
    """What code in an agent's cell finds: `found`, or the name of the error that it met."""
    lines = "\n".join(f"    {line}" for line in code.splitlines())
    caught = f"try:\n{lines}\nexcept OSError as error:\n    found = type(error).__name__"
    reply = f"```python\n{caught}\nfinal_answer(found)\n```"
    agent = CodeAgent(ScriptedModel(reply), sandbox=sandbox, journal=None)
    run = await agent.run("Look.")
    await agent.aclose()
    assert run.status == "success", run.steps[0].text
    return run.answer


def not_isolated() -> ChildKernel:
    """The control: what is looked for is there to be found."""
    return ChildKernel(isolation=Isolation(level="process"))


async def test_d2_code_cannot_read_ssh_keys(home: Path) -> None:
    code = f"found = open({str(home / '.ssh' / 'id_ed25519')!r}).read()"
    assert await answer(code, not_isolated()) == CANARY
    assert await answer(code) in ("FileNotFoundError", "PermissionError")


async def test_d2_code_cannot_find_an_api_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("PLAIN_SETTING", CANARY)
    code = f"""\
import os
from pathlib import Path
found = sorted(name for name, value in os.environ.items() if {CANARY!r} in value)
for path in Path("/proc").glob("[0-9]*/environ"):
    try:
        if {CANARY!r} in path.read_text(errors="replace") and path.name not in found:
            found.append(path.name)
    except OSError:
        pass"""
    assert await answer(code, not_isolated()) == ["PLAIN_SETTING", "environ"]
    assert await answer(code) == []


async def test_d2_code_cannot_open_a_socket(home: Path, port: int) -> None:
    code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2).close()\nfound = 'connected'"
    assert await answer(code, not_isolated()) == "connected"
    assert await answer(code) in ("ConnectionRefusedError", "PermissionError", "OSError")


async def test_a_kernel_that_kills_itself_does_not_end_the_run(home: Path) -> None:
    model = ScriptedModel(
        "```python\nkept = 1\n```",
        "```python\nimport os\nos.kill(os.getpid(), 9)\n```",
        "```python\nfinal_answer('kept' in globals())\n```",
    )
    async with Journal(home / "journal.sqlite") as journal:
        agent = CodeAgent(model, journal=journal)
        run = await agent.run("Go on.")
        kept = await journal.run(run.id)
        await agent.aclose()
    assert (run.status, run.answer) == ("success", False)
    assert "SIGKILL" in model.asked[2][-1].content
    assert "all variables are gone" in model.asked[2][-1].content
    assert [step.outcome for step in kept.steps] == ["ok", "died", "ok"]
    assert "SIGKILL" in kept.steps[1].note
