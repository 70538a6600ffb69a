"""`cellwright install`: tell Jupyter of the Cellwright kernel, and JupyterLab how to show its prompts.

`pip install` has done so already for the environment it installs into (the same files are the wheel's shared data).
This is for all other places: another environment's Jupyter, the user's own list, a prefix of choice. The kernelspec
written here names this Python by its path, so a JupyterLab from elsewhere starts the right one.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

import click

from cellwright.errors import CellwrightError, UsageError

NAME = "cellwright"


class InstallError(CellwrightError):
    """The kernelspec can't be written."""


def install(*, user: bool = False, prefix: str | None = None) -> Path:
    """Write the kernelspec, and beside it what wraps long prompts, replacing older ones; the kernelspec's folder.

    Raises `InstallError`.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory(prefix="cellwright-") as folder, as_file(files(__package__) / "resources") as made:
        spec = Path(folder) / NAME
        shutil.copytree(made, spec)
        facts = json.loads((spec / "kernel.json").read_text("utf-8"))
        facts["argv"][0] = sys.executable
        (spec / "kernel.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
        try:
            written = Path(KernelSpecManager().install_kernel_spec(str(spec), NAME, user=user, prefix=prefix))
            with as_file(files(__package__) / "labextension") as extension:
                # Prebuilt extensions of JupyterLab and Notebook 7 stand beside the kernelspecs.
                shutil.copytree(extension, written.parents[1] / "labextensions" / NAME, dirs_exist_ok=True)
            return written
        except OSError as error:
            where = error.filename or prefix or "the system's folder"
            why = error.strerror or str(error)
            raise InstallError(f"{where} can't be written: {why}. Try --user, --sys-prefix or --prefix.") from error


@click.command()
@click.option("--user", is_flag=True, help="For this user, in every environment.")
@click.option("--sys-prefix", is_flag=True, help="For this Python environment (the default).")
@click.option("--prefix", help="For the environment at this path.")
def command(user: bool, sys_prefix: bool, prefix: str | None) -> int:
    """Add the Cellwright kernel to JupyterLab, Notebook and VS Code."""
    if user + sys_prefix + (prefix is not None) > 1:
        raise UsageError("Choose one of --user, --sys-prefix and --prefix.")
    target = install(user=user, prefix=None if user else prefix or sys.prefix)
    click.echo(f"The Cellwright kernel is in {target}")
    return 0
