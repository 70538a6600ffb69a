"""Who can see: a person's image for a model that can't is refused before anything begins.

Plots that code shows are another matter: the run goes on without them, and the model is told that they were left out.
"""

from __future__ import annotations

from ..errors import UsageError
from .base import Model
from .embedded import EmbeddedModel
from .providers import LiteLLMModel


async def must_see(model: Model) -> None:
    """Raise `UsageError` for a model that can't see images; of several, each must be able to.

    A model of another kind, e.g. a person's own, is taken to see.
    """
    for one in getattr(model, "models", (model,)):
        if isinstance(one, EmbeddedModel) or (isinstance(one, LiteLLMModel) and not await one.sees()):
            raise UsageError(
                f"{one.name} can't see images, as far as is known. Choose a model that can, e.g. --model "
                "anthropic/claude-sonnet-4-5, or leave the images out; for one that can, say LiteLLMModel(sees=True)."
            )
