"""Every provider, through litellm: hosted ones by their key, and any server that speaks OpenAI's protocol.

litellm takes seconds to import, so it is imported once, in a thread that `warm_up` starts; whoever needs it awaits that
same thread. A request is retried while nothing of the reply has been delivered; after that a failure is the person's to
see, since a second reply would not continue the first. Closing a stream closes the provider's connection: that is what
stops it from generating, and billing, what nobody reads.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ..errors import ConfigError, ContextFull, ModelError, ModelKeyError, ModelUnavailable, UnknownModel, one_line
from ..facts import Usage
from ..outputs import Json
from .base import Message, ReplyEnd, ReplyPart, Sampling
from .cache_marks import marked, wants_marks
from .chat_form import Heard, as_dicts
from .failures import is_passing, reason, retry_after
from .rates import Limiter, limiter

FIRST_WAIT = 0.5
"""Seconds before the first retry; doubles with each, with jitter."""
LONGEST_WAIT = 30.0
"""Seconds before a retry at most, whatever the provider's Retry-After asks for."""

_import_lock = threading.Lock()
_imported: Future[ModuleType] | None = None


class LiteLLMModel:
    """A model of any provider that litellm knows, e.g. `anthropic/claude-sonnet-4-5`."""

    examples: Sequence[Message] = ()

    def __init__(
        self,
        name: str,
        *,
        sampling: Sampling | None = None,
        api_base: str | None = None,
        api_key: str | None = None,
        extra: Mapping[str, Json] | None = None,
        retries: int = 4,
        silence: float = 120.0,
        shown_as: str = "",
        requests_per_minute: int | None = None,
        concurrency: int | None = None,
        sees: bool | None = None,
    ) -> None:
        """`sampling` fills what a call leaves open; `extra` goes to litellm; `silence`: seconds without a byte.

        requests_per_minute, concurrency: shared by all models of that name at that address in this process.
        sees: whether it takes images, where litellm does not know it. Raises `ConfigError`.
        """
        for setting, value in (("requests_per_minute", requests_per_minute), ("concurrency", concurrency)):
            if value is not None and value < 1:
                raise ConfigError(f"{setting} must be 1 or more, not {value}.")
        self._name = name
        self.limiter = limiter(name, api_base or "", requests_per_minute=requests_per_minute, concurrency=concurrency)
        """Shared by all models of that name at that address."""
        self._sees = sees
        self._shown = shown_as or name
        self._sampling = sampling or Sampling()
        self._access: dict[str, Any] = {"timeout": silence, **(extra or {})}
        if name.startswith(("ollama/", "ollama_chat/")):
            # Without a price litellm asks Ollama for one after the first reply, and the loop stands still meanwhile.
            self._access |= {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0}
        if api_base:
            self._access["api_base"] = api_base
        if api_base or api_key:
            self._access["api_key"] = api_key or "none"  # a local server asks for no key, but litellm wants one
        self._retries = retries

    @property
    def name(self) -> str:
        return self._shown

    @property
    def context_tokens(self) -> int | None:
        """Tokens that the model can read; None where litellm does not know, or is not imported yet."""
        if not (_imported and _imported.done()) or _imported.exception():
            return None
        table = _imported.result().model_cost
        facts = table.get(self._name) or table.get(self._name.partition("/")[2]) or {}
        tokens = facts.get("max_input_tokens")
        return tokens if isinstance(tokens, int) and tokens > 0 else None

    def warm_up(self) -> None:
        """Begin to import litellm, in a thread."""
        import_litellm()

    async def check(self) -> None:
        """Raise `UnknownModel` or `ModelKeyError` for what can be known without asking the provider."""
        litellm = await loaded_litellm()
        provider = _provider(litellm, self._name)
        if not provider:
            raise UnknownModel(self._name, [*_chat_models(litellm), "embedded"])
        if "api_key" in self._access:
            return
        missing = litellm.validate_environment(self._name)["missing_keys"]
        # Other variables than keys have defaults (OLLAMA_API_BASE) or other sources (profiles, service accounts).
        keys = [variable for variable in missing if variable.endswith(("_API_KEY", "_TOKEN"))]
        if keys:
            raise ModelKeyError(self._shown, keys[-1:] if provider == "gemini" else keys)  # gemini takes either

    async def sees(self) -> bool:
        """True when it takes images, as far as is known."""
        if self._sees is None:
            self._sees = await sees_images(self._name)
        return self._sees

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The reply to `messages`, piece by piece, then one `ReplyEnd`. Raises `ModelError`."""
        litellm = await loaded_litellm()
        await self.check()
        if "tools" in sampling.more and find_spec("mcp") is None:  # litellm imports it for every call with functions
            raise ModelUnavailable(self._shown, "Function calls need the package mcp: `pip install 'cellwright[mcp]'`.")
        if any(message.images for message in messages):
            await self.sees()
        request = self._request(messages, sampling)
        if wants_marks(litellm, self._name, _provider(litellm, self._name)):
            request["messages"] = marked(request["messages"])
        async with self.limiter.place():
            opened = await self._open_with_retries(litellm, request)
            heard = opened.heard
            try:
                for part in opened.parts:
                    yield part
                async for chunk in opened.response:
                    for part in heard.take(chunk):
                        yield part
            except litellm.exceptions.openai.OpenAIError as error:
                if not heard.is_finished:  # else only what follows a whole reply, its usage, could not be read
                    raise self._worded(litellm, error, tries=1) from error
            finally:
                await opened.response.aclose()

        for call in heard.calls.whole():
            yield call
        usage = _usage(heard.usage)
        cost = self._cost(litellm, heard.usage) if usage else None
        yield ReplyEnd(usage, cost, heard.model, heard.is_truncated)

    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        """An estimate of tokens and price (US dollars), made without network."""
        if not (_imported and _imported.done()) or _imported.exception():
            return count_by_length(messages, reply), None
        litellm = _imported.result()
        usage = Usage(
            litellm.token_counter(model=self._name, messages=self._sent(messages)),
            litellm.token_counter(model=self._name, text=reply) if reply else 0,
            estimated=True,
        )
        return usage, self._cost(litellm, litellm.Usage(usage.prompt, usage.completion, usage.total))

    async def aclose(self) -> None:
        """Nothing is held between streams."""

    def _sent(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        return as_dicts(messages, "" if self._sees else self._shown)

    def _request(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        temperature = self._sampling.temperature if sampling.temperature is None else sampling.temperature
        max_tokens = sampling.max_tokens or self._sampling.max_tokens
        request = {**self._access, **self._sampling.more, **sampling.more}
        if temperature is not None:
            request["temperature"] = temperature
        if max_tokens is not None:
            request["max_tokens"] = max_tokens
        # num_retries and max_retries are 0: litellm's own retries hide the error that they end with.
        # drop_params: some models refuse a temperature; that is no reason to refuse the task.
        return request | {
            "model": self._name,
            "messages": self._sent(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": True,
        }

    async def _open_with_retries(self, litellm: ModuleType, request: dict[str, Any]) -> _Opened:
        """Open the stream and read as far as its first piece, again after passing failures."""
        from tenacity import (
            AsyncRetrying,
            RetryCallState,
            retry_if_exception,
            stop_after_attempt,
            wait_random_exponential,
        )

        backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(backoff(state), min(retry_after(error), LONGEST_WAIT))

        retrying = AsyncRetrying(
            wait=wait,
            stop=stop_after_attempt(self._retries + 1),
            retry=retry_if_exception(is_passing),
            reraise=True,
        )
        try:
            return await retrying(_open, litellm, request, self.limiter)
        except litellm.exceptions.openai.OpenAIError as error:
            tries = int(retrying.statistics.get("attempt_number", 1))
            raise self._worded(litellm, error, tries) from error

    def _worded(self, litellm: ModuleType, error: Exception, tries: int) -> ModelError:
        """The error in our words."""
        why = reason(error)
        match error:
            case litellm.ContextWindowExceededError():
                return ContextFull(self._shown)
            case litellm.NotFoundError():
                return UnknownModel(self._shown, _chat_models(litellm, _provider(litellm, self._name)), why)
            case litellm.AuthenticationError() | litellm.PermissionDeniedError():
                return ModelKeyError(self._shown, (), why)
        # llama.cpp and some gateways say it only in words.
        if "context size" in why or "maximum context length" in why:
            return ContextFull(self._shown)
        often = f" {tries} times" if tries > 1 else ""
        return ModelUnavailable(self._shown, f"{one_line(why, 220).rstrip('.')}{often and f' (asked{often})'}.")

    def _cost(self, litellm: ModuleType, usage: Any) -> float | None:
        """US dollars of `usage` (litellm's), or None when litellm has no price."""
        provider = _provider(litellm, self._name)
        bare = self._name.removeprefix(f"{provider}/")
        if not {self._name, bare, f"{provider}/{bare}"} & litellm.model_cost.keys():
            return None
        try:
            prompt, completion = litellm.cost_per_token(
                model=bare, custom_llm_provider=provider, usage_object=usage, prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
            )  # fmt: skip
        except (litellm.exceptions.ModelNotMappedError, KeyError, TypeError, ValueError):
            return None  # a price that litellm can't work out is an unknown price, never a failed run
        return float(prompt + completion)


# ---- litellm, imported once ------------------------------------------------------------------------------------------


def import_litellm() -> Future[ModuleType]:
    """Begin to import litellm in a thread, or join the thread that does. Returns at once."""
    global _imported  # noqa: PLW0603 - one per process
    with _import_lock:
        if _imported is None or (_imported.done() and _imported.exception()):  # a failed import is tried again
            _imported = Future()
            _imported.set_running_or_notify_cancel()  # so that a cancelled waiter can't cancel it for the others
            threading.Thread(target=_import_into, args=(_imported,), name="import-litellm", daemon=True).start()
        return _imported


async def loaded_litellm() -> ModuleType:
    """litellm, set up. The first call may take seconds; the loop is not blocked."""
    litellm = await asyncio.wrap_future(import_litellm())
    _hush_warnings()
    return litellm


def litellm_so_far() -> ModuleType | None:
    """litellm, if it has been imported already; never waits."""
    imported = _imported
    return imported.result() if imported and imported.done() and not imported.exception() else None


def _import_into(future: Future[ModuleType]) -> None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else the import goes to the network
    os.environ.setdefault("LITELLM_LOG", "ERROR")
    _hush_warnings()
    try:
        import litellm

        litellm.suppress_debug_info = True
        litellm.telemetry = False
        litellm.disable_hf_tokenizer_download = True  # counting tokens must not go to the network
        litellm.disable_aiohttp_transport = True  # its sessions warn when they are left to the garbage collector
    except BaseException as error:  # noqa: BLE001 - handed to those who wait, whatever it is; a thread has no other way
        future.set_exception(error)
    else:
        future.set_result(litellm)


def _hush_warnings() -> None:
    """Keep what litellm and pydantic warn each other of out of the person's cell.

    The filter is added, never restored: catch_warnings in a thread would undo what others set meanwhile. Adding it
    again changes nothing.
    """
    warnings.filterwarnings("ignore", module=r"(litellm|pydantic)(\.|$)")


async def sees_images(name: str) -> bool:
    """True when litellm knows that the model takes images. Asks a local Ollama about its models, in a thread."""
    litellm = await loaded_litellm()
    return bool(await asyncio.to_thread(litellm.supports_vision, name))


def _provider(litellm: ModuleType, name: str) -> str:
    """litellm's name of the provider that `name` belongs to, or an empty string."""
    try:
        return str(litellm.get_llm_provider(name)[1])
    except litellm.BadRequestError:
        return ""


def _chat_models(litellm: ModuleType, provider: str = "") -> list[str]:
    """Names of chat models, as a person would write them; of one provider, or of all."""
    names = []
    for name, facts in litellm.model_cost.items():
        owner = facts.get("litellm_provider", "")
        if facts.get("mode") in ("chat", "responses") and (not provider or owner == provider):
            names.append(name if "/" in name else f"{owner}/{name}")
    return names


# ---- one stream ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream that has begun: what came first, and the rest."""

    parts: Sequence[ReplyPart]
    response: Any
    heard: Heard


async def _open(litellm: ModuleType, request: dict[str, Any], limits: Limiter) -> _Opened:
    """Ask when it is our turn, and read as far as the first piece of the reply."""
    await limits.turn()
    response = await litellm.acompletion(**request)
    parts: list[ReplyPart] = []
    heard = Heard()
    try:
        async for chunk in response:
            if parts := heard.take(chunk):
                break
    except BaseException:  # cancelled, too: nobody else could close it
        await response.aclose()
        raise
    return _Opened(parts, response, heard)


def _usage(usage: Any) -> Usage | None:
    """litellm's usage as ours; None for what can't be: then tokens are counted here."""
    if not usage:
        return None
    prompt_details = getattr(usage, "prompt_tokens_details", None)
    completion_details = getattr(usage, "completion_tokens_details", None)
    said = Usage(  # providers leave details out or set them to None
        prompt=usage.prompt_tokens or 0,
        completion=usage.completion_tokens or 0,
        cached=getattr(prompt_details, "cached_tokens", None) or 0,
        reasoning=getattr(completion_details, "reasoning_tokens", None) or 0,
    )
    is_possible = 0 <= said.cached <= said.prompt and 0 <= said.reasoning <= said.completion and said.total
    return said if is_possible else None


def count_by_length(messages: Sequence[Message], reply: str) -> Usage:
    """An estimate at four characters a token."""
    return Usage(sum(len(message.content) for message in messages) // 4, len(reply) // 4, estimated=True)
