"""`ask_user`: a question to the person who gave the task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..errors import ToolCallError
from ..tools import Tool

Ask = Callable[[str, bool], Awaitable[str]]
"""A prompt, and whether to hide what is typed -> what was typed; as an agent's `on_input`."""


class UserInputTool(Tool):
    """Asks the person.

    ask: as an agent's `on_input`; None where nobody is there, e.g. in a headless run.
    """

    name = "ask_user"

    def __init__(self, ask: Ask | None = None) -> None:
        self.ask = ask
        super().__init__()

    async def forward(self, question: str) -> str:
        """Ask the user, and wait for the answer. Only for what nothing else can tell you.

        Args:
            question: One short question.
        """
        if self.ask is None:
            raise ToolCallError("there is nobody to ask; decide by yourself, and say so in the answer.")
        return await self.ask(f"{question.strip()} ", False)
