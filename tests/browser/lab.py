"""Drive a real JupyterLab, or Notebook 7 on the same server, in a headless Chromium, as a person would.

The server is isolated from the machine's Jupyter by its own configuration, data, runtime and settings folders; kernels
that are installed in the environment are found all the same. Waits ask JupyterLab's own objects: its status marks read
"idle" before a session exists.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from playwright.async_api import Locator, Page

TOKEN = "browser-tests"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).parents[2] / "results" / "screenshots"
_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
_NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"
JUPYTERLAB = "lab/tree"
NOTEBOOK_7 = "notebooks"
"""Where on the server a front end opens a notebook."""


def chromium() -> str | None:
    """Path of the system's Chromium; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab server."""

    url: str
    root: Path
    """The folder that it shows."""
    settings: Path
    """The folder of its settings."""

    def write(self, name: str, cells: Sequence[str], kernel: str) -> Path:
        """Write a notebook of code cells for a kernel."""
        notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]
        path = self.root / name
        _write(path, notebook, kernel)
        return path

    def reset_settings(self) -> None:
        """Forget what earlier pages chose, such as a theme."""
        shutil.rmtree(self.settings, ignore_errors=True)
        for plugin, values in _SETTINGS.items():
            package, name = plugin.split(":")
            file = self.settings / package / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))

    def request(self, path: str, method: str = "GET") -> Any:
        """Ask the server's REST API."""
        headers = {"Authorization": f"token {TOKEN}"}
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, headers=headers, method=method), timeout=10
        ) as answer:
            body = answer.read()
        return json.loads(body) if body else None


@contextmanager
def running_lab(root: Path, own: Path, extra_env: Mapping[str, str] | None = None) -> Iterator[Lab]:
    """A JupyterLab server that shows `root` and keeps its own files in `own`."""
    port = _free_port()
    lab = Lab(f"http://127.0.0.1:{port}", root, own / "settings")
    lab.reset_settings()
    with (own / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
                *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}"),
                *(f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True"),
                "--JupyterNotebookApp.expose_app_in_browser=True",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(own) | dict(extra_env or {}),
            start_new_session=True,
        )
        try:
            _wait_until_up(lab, server, own / "server.log")
            yield lab
            for kernel in lab.request("/api/kernels"):
                lab.request(f"/api/kernels/{kernel['id']}", "DELETE")
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _environment(own: Path) -> dict[str, str]:
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, **{name: str(own / folder) for name, folder in folders.items()}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_up(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            lab.request("/api/status")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if server.poll() is not None:
                raise RuntimeError(f"JupyterLab did not start: {log.read_text()}") from None
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"JupyterLab did not answer: {log.read_text()}")


def _write(path: Path, notebook: NotebookNode, kernel: str) -> None:
    # With a language left in, JupyterLab would start any kernel of that language.
    notebook.metadata = {"kernelspec": {"name": kernel, "display_name": kernel}}
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


class Notebook:
    """One notebook in one page of JupyterLab or Notebook 7."""

    def __init__(self, page: Page, lab: Lab, path: Path, front_end: str = JUPYTERLAB) -> None:
        self.page = page
        self.lab = lab
        self.path = path
        self._front_end = front_end
        self.errors: list[str] = []
        """What went wrong in the page's scripts."""
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def open(self) -> None:
        """Load the page and wait for its kernel."""
        await self._load()
        await self._ready()

    async def show(self) -> None:
        """Open it in a page where JupyterLab runs already, in the place of what is open there; wait for its kernel."""
        await self.page.evaluate(
            """async path => {
              for (const open of [...window.jupyterapp.shell.widgets('main')]) open.dispose();
              await window.jupyterapp.commands.execute('docmanager:open', { path, factory: 'Notebook' });
            }""",
            str(self.path.relative_to(self.lab.root)),
        )
        await self._ready()

    async def _ready(self) -> None:
        await self.page.wait_for_selector(f"{_NOTEBOOK} .jp-Cell", timeout=60_000)
        await self.page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext")
        await self.page.evaluate(
            """async () => {
              const panel = window.jupyterapp.shell.currentWidget;
              await panel.context.ready; await panel.revealed; await panel.sessionContext.ready;
              await panel.sessionContext.session?.kernel?.info;
            }"""
        )

    async def _load(self) -> None:
        name = self.path.relative_to(self.lab.root)
        await self.page.goto(f"{self.lab.url}/{self._front_end}/{name}?token={TOKEN}&reset")

    async def open_as_from_elsewhere(self, index: int, theme: str) -> Locator:
        """Run all cells up to `index`, save, change its output so that JupyterLab does not trust it, open it anew."""
        for number in range(index + 1):
            await self.run(number)
        saved = await self.save()
        saved.cells[index].outputs[0].data["text/html"] += "<!-- from elsewhere -->"
        self.path.write_text(json.dumps(saved))
        await self.open_without_kernel()
        await self.use_theme(f"JupyterLab {theme}")
        return self.output(index)

    async def open_without_kernel(self) -> None:
        """Load the page where no kernel will run; what is saved is all there is."""
        await self.shut_down()
        _write(self.path, self.read(), kernel="gone")
        await self._load()
        dialog = self.page.locator(".jp-Dialog")
        await dialog.wait_for(timeout=60_000)
        await self.page.keyboard.press("Escape")
        await dialog.wait_for(state="detached")

    async def shut_down(self) -> None:
        """End the notebook's kernel."""
        for session in await asyncio.to_thread(self.lab.request, "/api/sessions"):
            if session["path"] == self.path.name:
                await asyncio.to_thread(self.lab.request, f"/api/sessions/{session['id']}", "DELETE")

    def cell(self, index: int) -> Locator:
        return self.page.locator(f'{_NOTEBOOK} .jp-Cell[data-windowed-list-index="{index}"]')

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-Cell-outputArea")

    async def start(self, index: int) -> None:
        """Run a cell and do not wait."""
        await self.page.evaluate(
            """index => {
              const notebook = window.jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = index; notebook.deselectAll();
              window.cellDone = null;
              window.jupyterapp.commands.execute('notebook:run-cell')
                .then(ok => { window.cellDone = String(ok); }, error => { window.cellDone = String(error); });
            }""",
            index,
        )

    async def done(self, seconds: float = 60) -> None:
        """Wait until the cell that was started has ended."""
        await self.page.wait_for_function("window.cellDone !== null", timeout=seconds * 1000)

    async def run(self, index: int, seconds: float = 60) -> None:
        """Run a cell and wait for its end."""
        await self.start(index)
        await self.done(seconds)

    async def command(self, name: str, **args: object) -> None:
        """Execute one of JupyterLab's commands."""
        await self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, args])

    async def save(self) -> NotebookNode:
        """Save, and read the file back."""
        await self.command("docmanager:save")
        return self.read()

    def read(self) -> NotebookNode:
        """The notebook as it is saved."""
        return nbformat.read(self.path, as_version=4)  # type: ignore[no-any-return, no-untyped-call]

    async def use_theme(self, name: str) -> None:
        """`JupyterLab Light` or `JupyterLab Dark`."""
        await self.command("apputils:change-theme", theme=name)
        light = "true" if "Light" in name else "false"
        await self.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")
        await self.page.wait_for_timeout(500)  # style sheets of the theme

    async def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Save a picture of the page, or of a part of it, for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        if of:
            await of.screenshot(path=path)
        else:
            await self.page.screenshot(path=path)
        return path


class OpenNotebook(Protocol):
    """The fixture `notebook`: writes a notebook of code cells and opens it in a page of that size (pixels)."""

    async def __call__(
        self,
        cells: Sequence[str],
        kernel: str = "python3",
        width: int = 1180,
        height: int = 1000,
        front_end: str = JUPYTERLAB,
    ) -> Notebook: ...
