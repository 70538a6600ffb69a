"""Long prompts are wrapped in agent notebooks, and in no others; `cellwright install` brings that along."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from browser.lab import JUPYTERLAB, NOTEBOOK_7, Lab, OpenNotebook

LONG = "word " * 200
WIDTHS = """() => [...document.querySelectorAll('.jp-CodeCell .cm-content')].map(
    content => [content.dataset.language, content.scrollWidth > content.closest('.cm-scroller').clientWidth + 1]
)"""
"""Language, and whether lines go on beyond the edge."""


async def overflowing(
    notebook: OpenNotebook, cells: Sequence[str], kernel: str, front_end: str = JUPYTERLAB
) -> dict[str, list[bool]]:
    """For each language of code cells: whether each has to be scrolled to be read."""
    book = await notebook(cells, kernel=kernel, front_end=front_end)
    await book.page.wait_for_function("document.querySelector('.jp-CodeCell .cm-content')?.dataset.language")
    await book.page.wait_for_timeout(500)  # the editor measures once more after its style has come
    found: dict[str, list[bool]] = {}
    for language, is_wide in await book.page.evaluate(WIDTHS):
        found.setdefault(language, []).append(is_wide)
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def installed(lab: Lab) -> None:
    """`cellwright install --user`, for the server's own folders."""
    env = {**os.environ, "JUPYTER_DATA_DIR": str(lab.settings.parent / "data")}
    command = [str(Path(sys.executable).with_name("cellwright")), "install", "--user"]
    await asyncio.to_thread(subprocess.run, command, env=env, check=True, capture_output=True)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("front_end", [JUPYTERLAB, NOTEBOOK_7], ids=["lab", "notebook7"])
async def test_e1_long_prompts_are_wrapped(notebook: OpenNotebook, front_end: str) -> None:
    cells = [LONG, f"%%py\nx = '{LONG}'"]
    assert await overflowing(notebook, cells, "cellwright", front_end) == {"markdown": [False, False]}


@pytest.mark.usefixtures("installed")
async def test_e1_code_of_other_notebooks_is_as_it_was(notebook: OpenNotebook) -> None:
    assert await overflowing(notebook, [f"x = '{LONG}'"], "python3") == {"python": [True]}
