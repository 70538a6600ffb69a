"""What an agent holds: model, sandbox, journal; opened when first needed, released together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from .images import Image
from .models.base import Model
from .sandbox.base import Sandbox

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
        self.images: tuple[Image, ...] = ()
        """Of the task that is being done."""

    async def chosen_model(self) -> Model:
        """The model that answers, found when it is first needed. Raises `ModelError`."""
        if self.model is None or isinstance(self.model, str):
            from .models.choice import choose

            model: Model = (await choose(self.model)).model
            self.model = model
            return model
        return self.model

    def open_journal(self) -> Journal | None:
        """Where runs are kept; None for nowhere."""
        if self.journal == "default":
            from .journal import Journal, default_path

            self.journal = Journal(default_path())
        return self.journal

    def warm_up(self) -> None:
        """Begin what takes seconds in the background. Returns at once."""
        if self.model is not None and not isinstance(self.model, str):
            self.model.warm_up()

    async def aclose(self) -> None:
        """End the sandbox, and release what the model holds."""
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
