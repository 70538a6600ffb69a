"""`speech_to_text`: what is said in a recording, by a speech model of any provider that litellm knows."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..errors import ToolCallError, one_line
from ..sandbox.workspace import read_file
from ..secrets import Secret
from ..tools import Tool
from .fetch import Web, fetch

MAX_BYTES = 25_000_000
"""What providers take."""
_UNNAMED = ("", "application/octet-stream", "application/ogg")
"""Content types of servers that do not know what they serve."""


class SpeechToTextTool(Tool):
    """Writes down what is said in a recording.

    model: litellm's name of a speech model; its key comes from the environment, or is `api_key`. api_base: another
    address of it, e.g. a server of your own. folder: recordings in it can be named; without one, only addresses of the
    web. web: what of the web may be reached.
    """

    name = "speech_to_text"

    def __init__(
        self,
        model: str = "openai/whisper-1",
        *,
        folder: Path | None = None,
        api_base: str | None = None,
        api_key: Secret | str | None = None,
        seconds: float = 300.0,
        web: Web | None = None,
    ) -> None:
        self.model, self.folder, self.web = model, folder, web or Web()
        key = api_key.reveal() if isinstance(api_key, Secret) else api_key
        self._access = {"api_base": api_base, "api_key": key or ("none" if api_base else None), "timeout": seconds}
        super().__init__(seconds=seconds)

    async def forward(self, audio: str) -> str:
        """Write down what is said in a recording.

        Args:
            audio: Name of a file in the working folder, or address of one on the web (mp3, wav, m4a, flac, ogg, webm).
        """
        name, recording = await self._recording(audio)
        if len(recording) > MAX_BYTES:
            raise ToolCallError(f"{audio} has more than {MAX_BYTES // 10**6} MB, which is what can be sent.")
        return await self._transcribed(name, recording)

    async def _recording(self, audio: str) -> tuple[str, bytes]:
        if urlsplit(audio).scheme in ("http", "https"):
            fetched = await fetch(audio, self.web, accept="audio/*,video/*", max_bytes=MAX_BYTES + 1)
            if fetched.kind.partition("/")[0] not in ("audio", "video") and fetched.kind not in _UNNAMED:
                raise ToolCallError(f"{audio} is no recording but {fetched.kind}.")
            return PurePosixPath(urlsplit(fetched.url).path).name or "audio", fetched.body
        if self.folder is None:
            raise ToolCallError(f"{audio!r} is no address of the web, and there is no folder to look for files in.")
        return PurePosixPath(audio).name, read_file(self.folder, audio, MAX_BYTES + 1)

    async def _transcribed(self, name: str, recording: bytes) -> str:
        from ..models.providers import loaded_litellm

        litellm = await loaded_litellm()
        try:
            said: Any = await litellm.atranscription(
                model=self.model, file=(name, recording), max_retries=1, **self._access
            )
        except litellm.exceptions.openai.OpenAIError as error:
            raise ToolCallError(f"{self.model} did not write it down: {one_line(str(error), 200)}") from None
        return str(said.text)
