"""Several models in order: the next is asked when one can't be had.

    FallbackModel(LiteLLMModel("anthropic/claude-sonnet-4-5"), EmbeddedModel())

By name: `anthropic/claude-sonnet-4-5,embedded`. Only what says nothing about the question moves on: no connection, an
overloaded provider, a refused key, a missing file. Once a piece of the reply was delivered there is no way back: a
second model would not go on where the first one stopped. `ReplyEnd.model` tells which one answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from weakref import WeakKeyDictionary

from ..errors import ConfigError, ModelError, ModelFileError, ModelKeyError, ModelUnavailable, one_line
from ..facts import Usage
from .base import Message, Model, ReplyEnd, ReplyPart, Sampling

CANT_BE_HAD = (ModelUnavailable, ModelKeyError, ModelFileError)
"""Failures after which the next model is asked."""


class FallbackModel:
    """Asks the first of its models that can be had."""

    def __init__(self, first: Model, *others: Model) -> None:
        self.models = (first, *others)
        self._answering: WeakKeyDictionary[asyncio.Task[object], Model] = WeakKeyDictionary()

    @property
    def name(self) -> str:
        return ",".join(model.name for model in self.models)

    @property
    def examples(self) -> Sequence[Message]:
        """Those of the first model that needs some: they do no harm to the others."""
        return next((model.examples for model in self.models if model.examples), ())

    @property
    def calls_functions(self) -> bool:
        """False when one of the models must write its calls as text."""
        return all(getattr(model, "calls_functions", True) for model in self.models)

    @property
    def context_tokens(self) -> int | None:
        """Tokens that each of the models can read; None where no model says."""
        said = [getattr(model, "context_tokens", None) for model in self.models]
        return min((tokens for tokens in said if tokens), default=None)

    def warm_up(self) -> None:
        """Begin what takes seconds, for the first model only: the others may never be needed."""
        self.models[0].warm_up()

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The reply of the first model that can be had. Raises `ModelError`, of all when none can."""
        failures: list[ModelError] = []
        for model in self.models:
            if task := asyncio.current_task():
                self._answering[task] = model
            has_begun = False
            try:
                async with aclosing(model.stream(messages, sampling)) as parts:
                    async for part in parts:
                        has_begun = True
                        yield replace(part, model=part.model or model.name) if isinstance(part, ReplyEnd) else part
                return
            except CANT_BE_HAD as error:
                if has_begun:
                    raise
                failures.append(error)
        raise _all_failed(self.name, failures)

    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        """An estimate by the model that answered this task's last request."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        model = self._answering.get(task, self.models[0]) if task else self.models[0]
        return model.count(messages, reply)

    async def aclose(self) -> None:
        """Release what each model holds."""
        for model in self.models:
            await model.aclose()


def named(names: Sequence[str], models: Sequence[Model]) -> FallbackModel:
    """The models as one. Raises `ConfigError` when a model is named twice."""
    if len(set(names)) < len(names):
        raise ConfigError(f"A model stands twice in {','.join(names)!r}: a second try is made anyway.")
    return FallbackModel(*models)


def _all_failed(name: str, failures: Sequence[ModelError]) -> ModelError:
    if len(failures) == 1:
        return failures[0]
    advice = (" Run the cell again, or choose another model.", ", or choose another model.")
    said = []
    for failure in failures:
        text = str(failure)
        for words in advice:
            text = text.replace(words, "")
        said.append(one_line(text, 120).rstrip("."))
    return ModelUnavailable(name, f"{'; '.join(said)}.")
