"""What an agent holds: model, sandbox, journal; opened when first needed, released together."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from .errors import SandboxError
from .facts import FileFacts
from .identity import origin_of
from .images import Image
from .managed import agents_among, close_sandboxes
from .models.base import Model
from .sandbox.base import Sandbox
from .tools import Tool

if TYPE_CHECKING:
    from .journal import Journal


class Resources:
    """Model, sandbox and journal of an agent; an async context that releases them.

    model: a model, its name, or None to take what is found. sandbox: a child kernel by default.
    journal: the default one, another, or None for nowhere.
    """

    def __init__(
        self, model: Model | str | None, sandbox: Sandbox | None, journal: Journal | Literal["default"] | None
    ) -> None:
        self.model = model
        self.sandbox: Sandbox = sandbox or _child_kernel()
        self.journal = journal
        self.tools: dict[str, Tool] = {}
        self._starting: asyncio.Task[None] | None = None
        self.images: tuple[Image, ...] = ()
        """Of the task that is being done."""
        self.files: tuple[FileFacts, ...] = ()
        """Those that were handed over with it."""
        self.notebook = ""
        """The last cells of the person's notebook, told with it."""

    @property
    def origin(self) -> str:
        """The current folder, as a hash."""
        return origin_of(Path.cwd())

    async def chosen_model(self) -> Model:
        """The model that answers, found when it is first needed.

        Raises `ModelError`, and `UsageError` where the task has images and the model can't see.
        """
        model = self.model
        if model is None or isinstance(model, str):
            from .models.choice import choose

            self.model = model = (await choose(model)).model
        if self.images:
            from .models.sight import must_see

            await must_see(model)
        return model

    def open_journal(self) -> Journal | None:
        """Where runs are kept; None for nowhere."""
        if self.journal == "default":
            from .journal import Journal, default_path

            self.journal = Journal(default_path())
        return self.journal

    def warm_up(self) -> None:
        """Begin in the background what takes seconds, of managed agents, too: weights, imports, sandboxes.

        Returns at once. Sandboxes are started where a loop runs.
        """
        for model in (self.model, *(agent.model for agent in agents_among(self.tools.values()))):
            if model is not None and not isinstance(model, str):
                model.warm_up()
        with suppress(RuntimeError):  # no loop runs: they start when they are needed
            asyncio.get_running_loop()
            if self._starting is None or self._starting.done():
                self._starting = asyncio.create_task(self._start_sandboxes())

    async def _start_sandboxes(self) -> None:
        sandboxes = [self.sandbox, *(agent.sandbox for agent in agents_among(self.tools.values()))]
        for sandbox in sandboxes:
            with suppress(SandboxError):  # it is said when code is to run
                await sandbox.start()

    async def aclose(self) -> None:
        """End the sandbox and those of managed agents that nobody uses, and release what the model holds."""
        if self._starting:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        await close_sandboxes(agents_among(self.tools.values()))
        await self.sandbox.close()
        if self.model is not None and not isinstance(self.model, str):
            await self.model.aclose()
        if self.journal is not None and self.journal != "default":
            await self.journal.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


def _child_kernel() -> Sandbox:
    from .sandbox.child import ChildKernel

    return ChildKernel()
