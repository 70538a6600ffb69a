"""Every test runs apart from the person's own Jupyter: nothing of theirs is read, nothing of ours is left there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from cellwright.models import embedded
from cellwright.models.choice import DEFAULTS
from fake_provider import FakeProvider, echo

SLOW = ("test_killed.py", "browser/", "isolation/", "test_embedded.py", "test_notebooks.py", "test_provisioner.py")
"""Files that take minutes. They go first, so that no worker is left with one of them when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first; skip what needs the embedded model where it is not to be had, and say why."""
    items.sort(key=lambda item: next((at for at, name in enumerate(SLOW) if name in item.nodeid), len(SLOW)))
    missing = embedded.problem()
    for item in items:
        if missing and item.get_closest_marker("model"):
            item.add_marker(pytest.mark.skip(reason=f"needs the embedded model: {missing}"))


@pytest.fixture(scope="session", autouse=True)
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A journal, folders and an environment of the tests' own; no provider's key, so that no test costs money."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in os.environ:
            if variable in DEFAULTS or (variable.startswith("CELLWRIGHT_") and variable != "CELLWRIGHT_MODELS"):
                patch.delenv(variable)
        patch.setenv("CELLWRIGHT_JOURNAL", str(home / "journal.sqlite"))
        for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
            folder = home / variable.lower()
            folder.mkdir()
            patch.setenv(variable, str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def litellm_is_imported(apart: None) -> None:
    """Import litellm before the first test: its import takes seconds, and would count against some test's time."""
    from cellwright.models.providers import import_litellm

    import_litellm().result()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider whose model does what stands behind `py:` in the task; one for the tests of a module."""
    async with FakeProvider(reply=echo) as server:
        yield server
