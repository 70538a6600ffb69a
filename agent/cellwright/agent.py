"""The agent: what lasts from one task to the next.

A `CodeAgent` holds model, tools, sandbox, memory and listeners; each task is done by a `Work` of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .approval import Approver
from .checks import AnswerCheck
from .errors import UsageError
from .events import Event
from .formats import Markdown, ReplyFormat
from .guard import made_up_data
from .identity import new_id
from .imports_policy import imports_policy
from .limits import Limits
from .loop import Guard, Listener, Work
from .managed import Loan, managed
from .memory import Memory
from .models.base import Model
from .planning import before_each_step
from .prompt_templates import PromptTemplates, as_templates
from .resources import Resources
from .run import Run
from .sandbox.base import Execution, Sandbox
from .task import as_images, checked_task, encoded_values, handed_over, named_files
from .tools import Tool, collect

if TYPE_CHECKING:
    from .journal import Journal


class CodeAgent(Resources):
    """An agent that answers tasks by writing Python, and remembers from one task to the next.

    model: a `Model`, a litellm name such as `anthropic/claude-sonnet-4-5`, `embedded`, or None to take what is found.
    tools: functions of the host that the code may call. sandbox: where code runs; a child kernel by default.
    listeners: called with every event. journal: where runs are kept; the default one, another, or None for nowhere.
    planning_interval: plan first, and again after so many steps. final_answer_checks: see `AnswerCheck`.
    authorized_imports: modules that code may import; None allows all. managed_agents: called like tools.
    reply_format: how the model writes its actions; Markdown by default. prompt_templates: see `PromptTemplates`.
    approve: decides whether an action runs; see `Approval`. None: that of its caller, or all may run.
    name, description: what a managed agent is called and is for. Raises `UsageError`, `ToolDefinitionError`.
    """

    work_class: ClassVar[type[Work]] = Work

    def __init__(
        self,
        model: Model | str | None = None,
        *,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        sandbox: Sandbox | None = None,
        limits: Limits | None = None,
        instructions: str = "",
        prompt_templates: PromptTemplates | Mapping[str, str] | None = None,
        listeners: Iterable[Listener] = (),
        guards: Iterable[Guard] = (made_up_data,),
        approve: Approver | None = None,
        journal: Journal | Literal["default"] | None = "default",
        on_input: Callable[[str, bool], Awaitable[str]] | None = None,
        planning_interval: int | None = None,
        final_answer_checks: Iterable[AnswerCheck] = (),
        authorized_imports: Iterable[str] | None = None,
        reply_format: ReplyFormat | None = None,
        managed_agents: Iterable[CodeAgent] = (),
        name: str = "",
        description: str = "",
    ) -> None:
        super().__init__(model, sandbox, journal)
        self.tools = collect([*tools, *map(managed, managed_agents)])
        self.limits = limits or Limits()
        self.instructions = instructions
        self.prompt_templates = as_templates(prompt_templates)
        self.listeners = list(listeners)
        self.guards = [*guards] if authorized_imports is None else [*guards, imports_policy(authorized_imports)]
        self.approve = approve
        self.before_step = before_each_step(planning_interval)
        self.final_answer_checks = list(final_answer_checks)
        self.on_input = on_input
        self.reply_format = reply_format or Markdown()
        self.name, self.description = name, description
        self.conversation = new_id()
        self.memory: Memory | None = None
        self.execution: Execution | None = None
        """How the last action ended, as the sandbox said it."""
        self.is_fresh = False
        self.loan = Loan()
        """Whose call holds it, where it is called as a tool."""
        self.instance = 0
        """Which of the sandbox's processes did the last task; 0 before the first."""
        self._work: Work | None = None

    async def run(self, task: str, **options: Any) -> Run:
        """Do a task; options as for `stream`. The run tells how it went; it raises only for what could not begin."""
        async with aclosing(self.stream(task, **options)) as events:
            return Run([event async for event in events if not event.is_live])

    async def stream(
        self,
        task: str,
        *,
        reset: bool = False,
        additional_args: Mapping[str, object] | None = None,
        files: Sequence[Path] = (),
        images: Sequence[object] = (),
        limits: Limits | None = None,
        max_steps: int | None = None,
    ) -> AsyncGenerator[Event]:
        """Do a task and yield what happens. The conversation goes on from the task before.

        reset: begin a new conversation in a new sandbox. additional_args: values put into the sandbox as variables.
        files: copied into the sandbox's workspace, as are files of the current folder that the task names.
        images: shown to the model with the task: paths, bytes, figures, PIL images, arrays; see `as_image`.
        limits, max_steps: for this run only. Raises `UsageError` for a task that is none, `ModelError` without a model,
        `WorkspaceError` for a file that can't be copied.
        """
        self.need_rest()
        task = checked_task(task)
        values, self.images = encoded_values(additional_args or {}), await as_images(images)
        if reset:
            await self.reset()
        self.files = await handed_over(self.sandbox, [*files, *named_files(task, Path.cwd())])
        limits = limits or self.limits
        limits = limits if max_steps is None else replace(limits, steps=max_steps)
        work = self.work_class(self, await self.chosen_model(), limits)
        # A generator that is closed does not close the one inside it: without `aclosing` the run would go on unseen.
        async with aclosing(self.done_by(work, lambda work: work.begin(task, values))) as events:
            async for event in events:
                yield event

    async def run_by_hand(self, code: str) -> Run:
        """Run a person's own code in the sandbox, on record: the model learns of it with the next task."""
        self.need_rest()
        work = Work(self, None, replace(self.limits, steps=None, seconds=None, action_seconds=None))
        self.files = ()
        async with aclosing(self.done_by(work, lambda work: work.by_hand(code))) as events:
            return Run([event async for event in events])

    async def done_by(self, work: Work, begin: Callable[[Work], Awaitable[None]]) -> AsyncGenerator[Event]:
        """The events of `work`, done in a task of its own; leaving early stops it."""
        self.need_rest()  # again: two may have waited for files or a model at the same time
        self._work = work
        work.task = doing = asyncio.create_task(work.do(begin))
        doing.add_done_callback(lambda _: work.events.put_nowait(None))
        try:
            while (event := await work.events.get()) is not None:
                yield event
            doing.result()
        finally:
            if not doing.done():
                work.stop()
                await asyncio.wait({doing}, timeout=5.0)
            self._work = None

    def stop(self) -> None:
        """End the run under way with status `interrupted`. For the loop's own thread; does nothing without a run."""
        if self._work:
            self._work.stop()

    @property
    def is_working(self) -> bool:
        """True while a task is being done."""
        return self._work is not None

    def need_rest(self) -> None:
        """Raises `UsageError` while a task is being done."""
        if self._work is not None:
            raise UsageError("This agent is at work; wait for it, or stop it.")

    def forget(self) -> None:
        """Begin a new chat: the model is told nothing of what was; the sandbox's variables stay."""
        self.is_fresh = True

    async def reset(self) -> None:
        """Begin anew: a new conversation, and a new sandbox without variables."""
        self.conversation = new_id()
        self.memory, self.instance = None, 0
        if self.sandbox.is_running:
            await self.sandbox.restart()

    def memory_for(self, model: Model) -> Memory:
        """The conversation so far; another model or other tools carry it on under a new head."""
        facts = [tool.facts for tool in self.tools.values()]
        head = self.reply_format.head(model, facts, self.instructions, self.prompt_templates)
        self.memory = self.memory or Memory(head)
        self.memory.set_head(head)
        return self.memory
