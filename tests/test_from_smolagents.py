"""`docs/from-smolagents.md`: what it names is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import cellwright
from cellwright import CodeAgent, Limits

PAGE = (Path(__file__).parents[1] / "docs" / "from-smolagents.md").read_text("utf-8")


def test_every_import_on_the_page_works() -> None:
    (imports,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, object] = {}
    exec(imports, found)
    assert {"CodeAgent", "ToolCallingAgent", "McpServers", "from_gradio", "toolbox_by_name"} <= found.keys()


def test_every_option_on_the_page_is_one() -> None:
    ours = [row.split("|")[2] for row in PAGE.splitlines() if row.startswith("| `")]
    named = set(re.findall(r"`(\w+)=", " ".join(ours))) - {"reset", "additional_args", "max_steps", "images", "trust"}
    assert named >= {"planning_interval", "final_answer_checks", "managed_agents", "listeners", "limits"}
    assert named <= set(inspect.signature(CodeAgent.__init__).parameters)
    assert {"reset", "additional_args", "max_steps", "images"} <= set(inspect.signature(CodeAgent.stream).parameters)


def test_the_limits_on_the_page_are_the_default_ones() -> None:
    (said,) = re.findall(r"limits=(Limits\([^)]*\))", PAGE)
    assert eval(said, {"Limits": Limits}) == Limits()  # the page is ours


def test_every_public_name_is_on_the_page_or_in_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    known = {"CellwrightError", "Run", "ScriptedModel", "Step", "__version__"}
    assert {name for name in cellwright.__all__ if name not in PAGE + readme} <= known
