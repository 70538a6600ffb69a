"""Marks in a request that tell a provider up to where to cache it.

Most providers cache what requests begin with by themselves. Claude's do it only up to blocks that are marked, at most
four in a request. The marks are put on a copy, just before it is sent: memory, record and hash never hold any, and a
mark changes nothing of the prefix that a provider compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

_MARK = {"cache_control": {"type": "ephemeral"}}
_PROVIDERS = frozenset(
    {"anthropic", "azure_ai", "bedrock", "bedrock_converse", "databricks", "openrouter", "vertex_ai"},
)  # fmt: skip
"""litellm's names of the providers to which it hands marks on."""


def wants_marks(litellm: ModuleType, name: str, provider: str) -> bool:
    """True for models that cache only what is marked, as far as litellm knows."""
    # Gemini takes the same marks, but litellm makes a paid cache of its own out of each; what is the same at the
    # beginning Gemini finds without.
    return provider in _PROVIDERS and "claude" in name.lower() and bool(litellm.utils.supports_prompt_caching(name))


def marked(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages with a mark at the end of the head, of what the last request ended with, and of all.

    The first is what every conversation of the agent shares. The second is where the last request left its mark:
    a provider looks back from a mark only so far (Anthropic: 20 blocks), and many results may lie in between.
    """
    roles = [message["role"] for message in messages]
    head = next((at for at, role in enumerate(roles) if role != "system"), len(roles)) - 1
    replies = [at for at, role in enumerate(roles) if role == "assistant"]
    ends = {head, len(roles) - 1, *(at - 1 for at in replies[-1:])}
    return [_marked(message) if at in ends else message for at, message in enumerate(messages)]


def _marked(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message["content"]
    if not content:
        return message  # Anthropic refuses a mark on an empty block
    if message["role"] == "tool":
        return {**message, **_MARK}  # on the result as a whole, not on a block inside it
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {**message, "content": [*blocks[:-1], {**blocks[-1], **_MARK}]}
