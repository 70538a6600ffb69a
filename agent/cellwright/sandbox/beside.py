"""Small questions to a kernel while it runs code: what names are there, what is this one?

On the shell channel they would wait behind the code. The bootstrap cell has the control channel answer them, too, in
the thread that it has in every ipykernel; there nothing waits. Subshells would do it as well, but ipykernel has them
only since version 7, and any kernelspec may be the sandbox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..outputs import Json
from . import channels

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient

BESIDE_SECONDS = 3.0
"""So long an answer may take while code runs that leaves the thread little time."""


class Beside:
    """The control channel of one kernel, for small questions. Its replies are as little believed as all others."""

    def __init__(self, client: AsyncKernelClient) -> None:
        self._client = client
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, kind: str, content: Mapping[str, Json]) -> Mapping[str, Json]:
        """The content of the reply; empty when none comes in time."""
        deadline = time.monotonic() + BESIDE_SECONDS
        async with self._one_at_a_time:  # whoever reads the channel must find its own reply there
            channel, request = self._client.control_channel, ""
            # When the kernel ends, its channels are closed, and there is nothing to ask any more.
            while channel.is_alive() and (left := deadline - time.monotonic()) > 0:
                request = request or channels.send(self._client, channel, kind, dict(content))
                message = await channels.receive(channel, left)
                if message and message.parent == request:
                    return message.content
            return {}
