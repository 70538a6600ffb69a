"""`docs/from-smolagents.md` (row G6): what it names is there and does what it says; no name of theirs is left out."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas
import pytest

import cellwright
from cellwright import CodeAgent, Limits, Run, ScriptedModel, ToolCallingAgent, tool
from cellwright.conversation import edit_conversation, save_conversation
from cellwright.errors import CellwrightError, ValueNotTransferable
from cellwright.events import ReplyDelta, ReplyReceived
from cellwright.formats import JsonReply
from cellwright.sandbox.base import Sandbox
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.sandbox.values import decode, encode
from cellwright.sharing import load_agent, load_tool, save_agent, save_tool
from cellwright.toolbox import BASE_TOOLS, toolbox_by_name

PAGE = (Path(__file__).parents[1] / "docs" / "from-smolagents.md").read_text("utf-8")
PUBLIC = """
ActionOutput ActionStep AgentAudio AgentError AgentExecutionError AgentGenerationError AgentImage AgentLogger
AgentMaxStepsError AgentMemory AgentParsingError AgentText AgentToolCallError AgentToolExecutionError AgentType
AmazonBedrockModel AmazonBedrockServerModel ApiModel ApiWebSearchTool AUTHORIZED_TYPES AzureOpenAIModel
AzureOpenAIServerModel BlaxelExecutor CallbackRegistry ChatMessage ChatMessageStreamDelta ChatMessageToolCall CodeAgent
DockerExecutor DuckDuckGoSearchTool E2BExecutor FinalAnswerPromptTemplate FinalAnswerStep FinalAnswerTool
GoogleSearchTool GradioUI InferenceClientModel LiteLLMModel LiteLLMRouterModel LocalPythonExecutor LogLevel MCPClient
MLXModel ManagedAgentPromptTemplate MemoryStep MessageRole ModalExecutor Model Monitor MultiStepAgent OpenAIModel
OpenAIServerModel PipelineTool PlanningPromptTemplate PlanningStep PromptTemplates PythonExecutor PythonInterpreterTool
REMOVE_PARAMETER RunResult SafeSerializer SerializationError SpeechToTextTool StreamEvent SystemPromptStep TaskStep
Timing TokenUsage Tool ToolCall ToolCallingAgent ToolCollection ToolOutput TransformersModel UserInputTool VLLMModel
VisitWebpageTool WebSearchTool WikipediaSearchTool agglomerate_stream_deltas evaluate_python_code
get_clean_message_list launch_gradio_demo load_tool populate_template stream_to_gradio tool tool_role_conversions
BaseTool extract_code_from_text fix_final_answer_code handle_agent_output_types is_valid_name make_init_file
parse_code_blobs parse_json_if_needed truncate_content validate_tool_arguments
""".split()
"""What `from smolagents import *` of 1.26 gives, without what it imports itself and the functions of its commands."""
OPTIONS = """
add_base_tools additional_args additional_authorized_imports code_block_tags executor executor_kwargs executor_type
final_answer_checks images instructions logger managed_agents max_print_outputs_length max_steps max_tool_threads
planning_interval prompt_templates provide_run_summary reset return_full_result step_callbacks stream stream_outputs
use_structured_outputs_internally verbosity_level
""".split()
"""Arguments of its agents and of their `run`; `name` and `description` are ours, too."""
METHODS = """
agent.cleanup agent.extract_action agent.interrupt agent.logs agent.memory.steps agent.provide_final_answer
agent.push_to_hub agent.replay agent.run agent.save agent.state agent.step agent.visualize from_dict from_folder
from_hub to_dict agent.write_memory_to_messages
""".split()


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


def column(number: int) -> list[str]:
    """Cells of the tables: 1 is smolagents', 2 ours."""
    return [
        row.split("|")[number] for row in PAGE.splitlines() if row.startswith("| ") and "smolagents 1.26" not in row
    ]


def test_g6_every_import_on_the_page_works() -> None:
    (imports,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, object] = {}
    exec(imports, found)
    assert {"CodeAgent", "ToolCallingAgent", "McpServers", "from_gradio", "toolbox_by_name"} <= found.keys()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bcellwright(?:\.\w+)+", "".join(column(2))))))
def test_g6_every_name_of_ours_is_where_the_page_says(name: str) -> None:
    module, _, last = name.rpartition(".")
    try:
        found = getattr(import_module(module), last, None)
    except ModuleNotFoundError:
        found = None
    assert found is not None or import_module(name)


@pytest.mark.parametrize("name", [*PUBLIC, *OPTIONS, *METHODS])
def test_g6_every_name_of_smolagents_is_on_the_page(name: str) -> None:
    code = " ".join(part for cell in column(1) for part in re.findall(r"`([^`]+)`", cell))
    assert re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", code)


def test_g6_what_is_not_here_says_why() -> None:
    without = [ours.strip() for ours in column(2) if re.match(r" (no|not needed|not yet)\b", ours)]
    assert len(without) > 10
    assert [ours for ours in without if not re.match(r"(no|not needed|not yet): .{12,}", ours)] == []


def test_g6_every_option_on_the_page_is_one() -> None:
    named = set(re.findall(r"`(\w+)=", " ".join(column(2)))) - {
        "reset",
        "additional_args",
        "max_steps",
        "images",
        "trust",
    }
    assert named >= {"planning_interval", "final_answer_checks", "managed_agents", "listeners", "limits"}
    assert named <= set(inspect.signature(CodeAgent.__init__).parameters)
    assert {"reset", "additional_args", "max_steps", "images"} <= set(inspect.signature(CodeAgent.stream).parameters)


def test_g6_the_limits_on_the_page_are_the_default_ones() -> None:
    (said,) = re.findall(r"limits=(Limits\(steps[^)]*\))", PAGE)
    assert eval(said, {"Limits": Limits}) == Limits()  # the page is ours
    assert Limits(observation_tokens=2000) == Limits()


def test_g6_every_public_name_is_on_the_page_or_in_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    known = {"CellwrightError", "Run", "ScriptedModel", "Step", "__version__"}
    assert {name for name in cellwright.__all__ if name not in PAGE + readme} <= known


# ---- the lines of the page, run --------------------------------------------------------------------------------------


@tool
def double(x: int) -> int:
    """Double a number."""
    return 2 * x


async def test_g6_running_streaming_and_what_comes_back(tmp_path: Path) -> None:
    model = ScriptedModel(reply("n = 1\nprint(df['a'].tolist())"), reply("final_answer(df.assign(b=double(n)))"))
    async with CodeAgent(model, tools=[double], sandbox=ChildKernel(workspace=tmp_path), journal=None) as agent:
        run = await agent.run("Go.", additional_args={"df": pandas.DataFrame({"a": [1, 2]})}, max_steps=5)
        assert (run.status, run.totals.steps, run.totals.usage.prompt > 0, run.totals.seconds > 0) == (
            "success",
            2,
            True,
            True,
        )
        assert "\n".join(step.code for step in run.steps).startswith("n = 1\nprint(")
        table: Any = decode(*await agent.sandbox.get("_answer"))
        assert table["b"].tolist() == [2, 2]
        assert await agent.sandbox.get("n") == ("json", 1), "the agent's state"
        assert run.answered
        assert "text/html" in run.answered.data
        assert agent.memory
        assert agent.memory.messages[0].role == "system"
        events = [event async for event in agent.stream("Go on.", reset=True, additional_args={"df": table})]
        deltas = "".join(event.text for event in events if isinstance(event, ReplyDelta))
        assert deltas == "".join(event.text for event in events if isinstance(event, ReplyReceived))


async def test_g6_a_run_that_goes_wrong_is_a_result_and_what_could_not_begin_is_an_error() -> None:
    async with CodeAgent(ScriptedModel("I can't."), journal=None) as agent:
        run = await agent.run("Go.")
        assert (run.status, run.reason) == ("failed", "The model wrote no code 3 times in a row.")
        with pytest.raises(CellwrightError, match="empty"):
            await agent.run("  ")


async def test_g6_options_on_the_page_are_taken_together(tmp_path: Path) -> None:
    sandbox: Sandbox = ChildKernel(workspace=tmp_path, isolation=Isolation(network="none"))
    heard: list[object] = []

    def is_small(answer: Any, run: Run) -> bool:
        return bool(answer < 10)

    inner = ToolCallingAgent(ScriptedModel("x"), journal=None, name="helper", description="Helps.")
    agent = CodeAgent(
        ScriptedModel("1. Answer.", '{"thought": "", "code": "import math\\nfinal_answer(math.floor(2.5))"}'),
        tools=[double, *toolbox_by_name(BASE_TOOLS)], managed_agents=[inner], sandbox=sandbox, journal=None,
        planning_interval=3, final_answer_checks=[is_small], listeners=[heard.append], instructions="Be brief.",
        authorized_imports=["math"], reply_format=JsonReply(), limits=Limits(steps=20, cost=None),
    )  # fmt: skip
    async with agent:
        run = await agent.run("Go.")
    assert (run.status, run.answer) == ("success", 2)
    assert [tool.name for tool in run.started.tools] == ["double", "web_search", "visit_webpage", "helper"]  # type: ignore[union-attr]
    assert len(heard) > len(run.events), "deltas, too"


async def test_g6_saving_and_editing(tmp_path: Path) -> None:
    save_tool(double, tmp_path / "double")
    assert await load_tool(tmp_path / "double", trust=True)(4) == 8
    async with CodeAgent(ScriptedModel(reply("final_answer(1)")), journal=None, instructions="Be brief.") as agent:
        save_agent(agent, tmp_path / "agent")
        run = await agent.run("Go.")
        await save_conversation(agent, tmp_path / "chat.json", runs=[run])
        edited = Run(
            replace(event, text="Edited.") if isinstance(event, ReplyReceived) else event for event in run.events
        )
        await edit_conversation(agent, lambda runs: [edited], runs=[run])
        assert agent.memory
        assert "Edited." in [message.content for message in agent.memory.messages]
    assert load_agent(tmp_path / "agent", trust=True, model=ScriptedModel("x")).instructions == "Be brief."
    assert (tmp_path / "chat.json").stat().st_size > 0


def test_g6_values_cross_as_json_or_arrow_or_are_refused() -> None:
    assert encode({"n": [1, {"a": None}]}) == {"n": ("json", [1, {"a": None}])}
    with pytest.raises(ValueNotTransferable, match="f is a function"):
        encode({"f": reply})
