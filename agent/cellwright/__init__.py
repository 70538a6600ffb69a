"""A code agent for Jupyter: tasks in plain language, Python in a sandbox kernel, every run on record.

    from cellwright import CodeAgent
    run = await CodeAgent().run("What is the 50th prime number?")

Names are loaded when they are first used, so that `import cellwright` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .agent import CodeAgent as CodeAgent
    from .approval import Approval as Approval
    from .errors import CellwrightError as CellwrightError
    from .limits import Limits as Limits
    from .models.scripted import ScriptedModel as ScriptedModel
    from .prompt_templates import PromptTemplates as PromptTemplates
    from .run import Run as Run
    from .run import Step as Step
    from .secrets import Secret as Secret
    from .steering import Steering as Steering
    from .tool_calling import ToolCallingAgent as ToolCallingAgent
    from .tools import Tool as Tool
    from .tools import tool as tool

_HOME = {
    "Approval": "approval",
    "CellwrightError": "errors",
    "CodeAgent": "agent",
    "Limits": "limits",
    "PromptTemplates": "prompt_templates",
    "Run": "run",
    "ScriptedModel": "models.scripted",
    "Secret": "secrets",
    "Steering": "steering",
    "Step": "run",
    "Tool": "tools",
    "ToolCallingAgent": "tool_calling",
    "tool": "tools",
}
__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - names of strings


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext cellwright`: forward to the notebook extension."""
    from cellwright_extension import load_ipython_extension as load

    load(shell)
