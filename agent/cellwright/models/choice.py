"""Which model answers: the one that was asked for, else the best that can be found without asking anybody.

In this order: a provider whose key is in the environment; an Ollama on this machine; the embedded model, when it has
been pulled. With none of them there is one message that says three ways on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import ModuleType

from ..errors import ModelError, ModelFileError, NoModel, UnknownModel
from . import embedded, replay
from .base import Model
from .fallback import FallbackModel, named
from .providers import LiteLLMModel, loaded_litellm

DEFAULTS: Mapping[str, Sequence[str]] = {
    "ANTHROPIC_API_KEY": ("anthropic/claude-sonnet-5-5", "anthropic/claude-sonnet-5", "anthropic/claude-sonnet-4-5"),
    "OPENAI_API_KEY": ("openai/gpt-5.6", "openai/gpt-5.2", "openai/gpt-5"),
    "GEMINI_API_KEY": ("gemini/gemini-flash-latest", "gemini/gemini-2.5-flash"),
    "GOOGLE_API_KEY": ("gemini/gemini-flash-latest", "gemini/gemini-2.5-flash"),
    "MISTRAL_API_KEY": ("mistral/devstral-latest", "mistral/mistral-large-latest"),
    "DEEPSEEK_API_KEY": ("deepseek/deepseek-v4-flash", "deepseek/deepseek-chat"),
    "XAI_API_KEY": ("xai/grok-4.3-latest", "xai/grok-code-fast-1"),
    "GROQ_API_KEY": ("groq/openai/gpt-oss-120b",),
    "CEREBRAS_API_KEY": ("cerebras/gpt-oss-120b",),
    "TOGETHERAI_API_KEY": ("together_ai/openai/gpt-oss-120b",),
    "OPENROUTER_API_KEY": ("openrouter/auto",),
}
"""Variable with a key -> models to take, the first that the installed litellm knows."""
OLLAMA_SECONDS = 0.5
"""Seconds that a local Ollama has to answer."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, and why it is this one."""

    model: Model
    why: str


def create(name: str) -> Model:
    """The model of that name, unchecked: nothing is loaded or asked. `a,b` is a, and b where a can't be had."""
    name = name.strip()
    if name.startswith(replay.PREFIX):
        return replay.ReplayModel(name)
    if "," in name:
        names = [part.strip() for part in name.split(",")]
        return named(names, [create(part) for part in names])
    if not name:
        raise UnknownModel(name)
    return embedded.EmbeddedModel() if name == embedded.NAME else LiteLLMModel(name)


async def choose(wanted: str | None = None) -> Choice:
    """The model to use. Raises `UnknownModel`, `ModelKeyError`, `ModelFileError` or `NoModel`; asks no provider."""
    if wanted is not None:
        model = create(wanted)
        await check(model)
        return Choice(model, "asked for by name")

    for variable in keys_present():
        litellm = await loaded_litellm()
        return Choice(create(default_model(litellm, variable)), f"{variable} is set")
    host = ollama_host()
    if installed := await ollama_models(host):
        name = next((name for name in installed if "code" in name), installed[0])
        return Choice(LiteLLMModel(f"ollama_chat/{name}", api_base=host), f"Ollama answers at {host}")
    if not embedded.problem():
        return Choice(embedded.EmbeddedModel(), "no key is set and no Ollama answers; the embedded model is here")
    raise NoModel


async def check(model: Model) -> None:
    """Raise for what can be known without asking: `UnknownModel`, `ModelKeyError`, `ModelFileError`."""
    if isinstance(model, FallbackModel):
        await _check_one_of(model)
    elif isinstance(model, LiteLLMModel):
        await model.check()
    elif isinstance(model, replay.ReplayModel):
        await model.load()
    elif isinstance(model, embedded.EmbeddedModel) and (why := embedded.problem()):
        raise ModelFileError(why)


async def _check_one_of(model: FallbackModel) -> None:
    """One of the models must be to be had, and none may be misspelt."""
    failures: list[ModelError] = []
    for one in model.models:
        try:
            await check(one)
        except UnknownModel:
            raise
        except ModelError as error:
            failures.append(error)
    if len(failures) == len(model.models):
        raise failures[0]


def keys_present() -> list[str]:
    """Variables of the environment that hold a provider's key, best first."""
    return [variable for variable in DEFAULTS if os.environ.get(variable)]


def default_model(litellm: ModuleType, variable: str) -> str:
    """The model to take when this key is set: the first candidate that litellm knows and that is not retired."""
    today = date.today().isoformat()
    for name in DEFAULTS[variable]:
        facts = litellm.model_cost.get(name) or litellm.model_cost.get(name.partition("/")[2])
        if facts and (facts.get("deprecation_date") or "9999") > today:
            return name
    return DEFAULTS[variable][-1]


def ollama_host() -> str:
    """Address of the local Ollama: `OLLAMA_HOST` as Ollama itself reads it, or its default."""
    host = os.environ.get("OLLAMA_HOST") or os.environ.get("OLLAMA_API_BASE") or "127.0.0.1:11434"
    host = host if "://" in host else f"http://{host}"
    host = host.replace("//0.0.0.0", "//127.0.0.1").rstrip("/")  # an address to listen on, not to connect to
    return host if host.rpartition(":")[2].isdigit() or host.startswith("https") else f"{host}:11434"


async def ollama_models(host: str) -> list[str]:
    """Names of the models that the Ollama at `host` has; empty when none answers."""
    import httpx

    try:
        # trust_env: a proxy of the company would only delay the answer of a local server.
        async with httpx.AsyncClient(timeout=OLLAMA_SECONDS, trust_env=False) as client:
            said = (await client.get(f"{host}/api/tags")).raise_for_status().json()
        return [str(model["name"]) for model in said["models"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return []
