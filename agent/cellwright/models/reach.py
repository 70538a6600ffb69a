"""What can answer here and now: models of the providers whose keys are at hand, a local Ollama's, the embedded one.

Nobody is asked but a server of this machine. A provider has dozens of models; shown are the one that would be taken,
the other good ones that we know, and the newest of litellm's table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from . import choice, embedded, replay, weights
from .providers import litellm_so_far, loaded_litellm

NEWEST = 3
"""Models of litellm's table that are listed per provider."""
_SPECIAL = re.compile(r"ft:|audio|search|live|robotics|cyber|vibe|build|exp|preview|beta|fast|latest|\d{4}", re.I)
"""Fine-tuned, dated and special ones: whoever wants one knows its name."""
_VERSION = re.compile(r"(\d+)(?:[.-](\d{1,2})(?!\d))?")


@dataclass(frozen=True, slots=True)
class Reachable:
    """A model that can answer, or a hint at one that could."""

    name: str
    why: str
    """One line."""
    is_ready: bool = True
    """False for a hint: something is to be done first."""


async def reachable() -> list[Reachable]:
    """The models that can answer, best first, then hints. Takes a moment: litellm is imported where a key is set."""
    found: dict[str, Reachable] = {}
    for variable in choice.keys_present():
        litellm = await loaded_litellm()
        default = choice.default_model(litellm, variable)
        found.setdefault(default, Reachable(default, f"{variable} is set; its default"))
        for name in (*_known(litellm.model_cost, variable), *_newest(litellm.model_cost, default)):
            found.setdefault(name, Reachable(name, f"{variable} is set"))
    host = choice.ollama_host()
    local = [Reachable(f"ollama_chat/{name}", f"Ollama answers at {host}") for name in await choice.ollama_models(host)]
    why = embedded.problem()
    own = Reachable(embedded.NAME, why or f"its file is here ({weights.PINNED.file})", not why)
    again = "answers as a run on record was answered; `cellwright runs` lists them"
    return [*found.values(), *local, own, Reachable(f"{replay.PREFIX}RUN", again, is_ready=False)]


def names_like(beginning: str) -> list[str]:
    """Names of models that begin so, best first, for whoever types one. Takes no time: nobody is asked.

    Those that a key or a file is there for; of litellm's table, as far as it is imported, all once a provider is named.
    """
    litellm, found = litellm_so_far(), dict[str, None]()
    table = litellm.model_cost if litellm else {}
    for variable in choice.keys_present():
        found |= dict.fromkeys(choice.DEFAULTS[variable] if litellm is None else _known(table, variable))
        if litellm:
            found |= dict.fromkeys(_newest(table, choice.default_model(litellm, variable)))
    found |= dict.fromkeys([embedded.NAME, replay.PREFIX])
    provider = beginning.partition("/")[0]
    if "/" in beginning:
        found |= dict.fromkeys(sorted(_of(table, provider)))
    return [name for name in found if name.startswith(beginning)]


def _known(table: Mapping[str, Mapping[str, Any]], variable: str) -> list[str]:
    """Our candidates for this key that litellm knows and that are not retired."""
    return [name for name in choice.DEFAULTS[variable] if _is_current(table.get(name) or table.get(_bare(name)))]


def _newest(table: Mapping[str, Mapping[str, Any]], default: str) -> list[str]:
    """The newest plain models of the default's provider, by the version in their names."""
    found = _of(table, default.partition("/")[0])
    names = [
        n for n, facts in found.items() if facts.get("supports_function_calling") and not _SPECIAL.search(_bare(n))
    ]
    return sorted(names, key=lambda name: (-_version(name), len(name), name))[:NEWEST]


def _of(table: Mapping[str, Mapping[str, Any]], provider: str) -> dict[str, Mapping[str, Any]]:
    """A provider's models that chat and are not retired, by their whole names."""
    return {
        name if name.startswith(f"{provider}/") else f"{provider}/{name}": facts
        for name, facts in table.items()
        if facts.get("litellm_provider") == provider and facts.get("mode") in ("chat", "responses")
        if _is_current(facts)
    }


def _bare(name: str) -> str:
    return name.partition("/")[2] or name


def _is_current(facts: Mapping[str, Any] | None) -> bool:
    return facts is not None and (facts.get("deprecation_date") or "9999") > date.today().isoformat()


def _version(name: str) -> float:
    found = _VERSION.search(_bare(name))
    return float(f"{found[1]}.{found[2] or 0}") if found else 0.0
