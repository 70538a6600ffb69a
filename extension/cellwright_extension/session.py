"""One notebook's conversation: an agent, its sandbox, the view of each run. Kernel and magic both use it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from cellwright.agent import CodeAgent
from cellwright.approval import Approval, Mode
from cellwright.errors import CellwrightError, RunFailed, RunInterrupted, UsageError
from cellwright.events import Event
from cellwright.mcp import McpServers
from cellwright.models.choice import choose
from cellwright.models.rates import as_set
from cellwright.outputs import Json
from cellwright.rewind import branch, last_task, resume, take_up, undo
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.values import decode
from cellwright.settings import Settings, gather
from cellwright.steering import Steering
from cellwright.tools import Tool

from .brought_back import BroughtBack
from .comm_proxy import page_for
from .lines import Lines
from .person import Person
from .wishes import Wishes, offered, taken_back

if TYPE_CHECKING:
    from traitlets.config import Config

    from cellwright.journal import Journal
    from cellwright.models.base import Model
    from cellwright.run import Run
    from cellwright.sandbox.comms import Widgets

_NAME_IN_BRACES = re.compile(r"\{([A-Za-z_]\w*)\}")

Ask = Callable[[str, bool], Awaitable[str]]
"""Prompt, and whether to hide what is typed -> the line."""


class Session:
    """A conversation at a notebook.

    config: traitlets configuration of the shell (`c.Cellwright.*`).
    ask: asks the person for a line; None where nobody is. add_cell: puts text into a new cell below the one that runs.
    by_hand: what a cell with a person's own code begins with. can_type: whether somebody can type now.
    """

    def __init__(
        self,
        config: Config | None = None,
        ask: Ask | None = None,
        *,
        add_cell: Callable[[str], object] = print,
        by_hand: str = "",
        can_type: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config = config
        self._ask = ask
        self._add_cell = add_cell
        self._by_hand = by_hand
        self._steering = Steering()
        self._lines = Lines(can_type)
        self.brought_back = BroughtBack(self._undo_to)
        """Finished runs that are shown live."""
        self._flags: dict[str, Json] = {}
        self._least: Mode = "auto"
        self._person = Person(ask)
        self.approval = Approval("auto", self._person)
        """Who decides whether an action runs, and what the person allowed for this session."""
        self._agent: CodeAgent | None = None
        self._widgets: Widgets | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.tools: dict[str, Tool] = {}
        self.mcp = McpServers(taken=lambda: self.tools, on_note=print)
        """MCP servers, whose tools the agent may call, too."""
        self.last_run: Run | None = None
        self.is_offered = False
        """Whether it was looked for a task that was cut off before this session."""
        self.model_reason = ""
        """Why the model at hand was chosen."""
        with suppress(CellwrightError):  # wrong settings are said when they are needed
            self.settings  # noqa: B018 - what an administrator wants asked is learned before anything can change it

    @property
    def settings(self) -> Settings:
        """What holds for the next task. Raises `ConfigError`."""
        return self.settings_with({})

    def settings_with(self, flags: Mapping[str, Json]) -> Settings:
        """What holds where `flags` are said besides. Raises `ConfigError`, for flags `UsageError`."""
        settings = gather({**self._flags, **flags}, self._config, least=self._least)
        self._least = settings.approve_min  # a later change of the environment can't lift it
        return settings

    def change(self, **flags: Json) -> None:
        """Change settings for the tasks that follow; None takes a change back."""
        before = dict(self._flags)
        self._flags = {name: value for name, value in {**before, **flags}.items() if value is not None}
        try:
            self.settings  # noqa: B018 - a wrong value must not stay
        except CellwrightError:
            self._flags = before
            raise

    @property
    def agent(self) -> CodeAgent:
        """The agent, made when it is first needed."""
        if self._agent is None:
            settings = self.settings
            sandbox = ChildKernel(
                settings.kernel_name, output_bytes=settings.limits.output_bytes, isolation=settings.isolation
            )
            self._widgets = sandbox.widgets
            self._widgets.page = page_for(self._widgets)
            self._agent = CodeAgent(
                sandbox=sandbox,
                on_input=self._ask_for_code if self._ask else None,
                journal=_journal(settings),
            )
            self._agent.before_step.append(self._steering)
        return self._agent

    @property
    def journal(self) -> Journal:
        """Where the runs of this session are kept."""
        journal = self.agent.open_journal()
        if journal is None:
            raise UsageError("This session keeps no journal.")
        return journal

    @property
    def is_working(self) -> bool:
        """True while a task, a person's cell, or what a widget of the sandbox calls, runs."""
        return self._agent is not None and (self._agent.is_working or bool(self._widgets and self._widgets.are_at_work))

    def stop(self) -> None:
        """End what is under way. May be called from any thread and from signal handlers."""
        if self._loop and self._agent:
            # call_soon_threadsafe also wakes a loop that sleeps in its selector; a signal alone does not.
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._agent and self._agent.is_working:
            self._agent.stop()
        elif self._widgets:
            self._widgets.stop()

    def warm_up(self) -> None:
        """Begin what takes seconds: import litellm in a thread."""
        from cellwright.models.providers import import_litellm

        import_litellm()

    async def model(self, wanted: str | None = None) -> Model:
        """The model that answers: the one asked for, or what settings and machine offer. Raises `ModelError`."""
        name = wanted or self.settings.model
        current = self.agent.model
        if current is not None and not isinstance(current, str) and name in (None, current.name):
            return current
        choice = await choose(name)
        self.model_reason = choice.why
        return choice.model

    async def do(
        self,
        task: str,
        flags: Mapping[str, Json] | None = None,
        values: Mapping[str, object] | None = None,
        images: Sequence[object] = (),
        *,
        notebook: str = "",
        with_answer: bool = True,
    ) -> Run:
        """Do a task and show it. A run that did not end well raises `RunFailed` or `RunInterrupted`.

        flags: settings for this task only. values: variables to put into the sandbox. images: shown to the model.
        notebook: cells of the person's notebook, told to the model with the task.
        with_answer: whether what stays in the output repeats the answer, which a cell shows as its result anyway.
        """
        settings = await self._ready(flags)
        task = await self.fill_in(task)
        events = self.agent.stream(task, limits=settings.limits, additional_args=values, images=images)
        self.agent.notebook = notebook
        try:
            return await self._shown(events, with_answer=with_answer)
        finally:
            self.agent.notebook = ""

    async def undo(self, steps: int) -> Run:
        """Take back the last steps. Raises `UsageError`."""
        await self._ready()
        return await undo(self.agent, steps)

    async def branch(
        self,
        step: int,
        instruction: str = "",
        *,
        code: str | None = None,
        run_id: str = "",
        flags: Mapping[str, Json] | None = None,
    ) -> Run:
        """Go on from before a step in another way, and show it; see `rewind.branch`. Raises as `do`."""
        settings = await self._ready(flags)
        events = branch(self.agent, step, instruction, code=code, run_id=run_id, limits=settings.limits)
        return await self._shown(events)

    async def take_up(self, run: Run) -> Run:
        """Bring back what a run with an answer left; the run that says so. Raises `UsageError`."""
        await self._ready()
        self.last_run = run
        return await take_up(self.agent, run.id)

    async def found(self, run_id: str) -> Run:
        """The run of that id, or the task that was given last here. Raises `JournalError`."""
        if run_id == "latest":
            return await last_task(self.journal, self.agent.origin)
        return await self.journal.run(run_id)

    async def resume(self, run: Run) -> Run:
        """Go on with a run that was cut off, and show it. Raises as `do`."""
        await self._ready()
        events = resume(self.agent, run.id)
        # A run that was cut off goes on as itself, so its view begins with what was done; one that ended is branched.
        return await self._shown(events, before=() if run.ended else run.events)

    async def conversation(self) -> list[Run]:
        """The runs of this conversation, oldest first."""
        return await self.journal.conversation(self.agent.conversation)

    async def _ready(self, flags: Mapping[str, Json] | None = None) -> Settings:
        """Have the agent as settings say now, and `flags` for this task only."""
        settings = self.settings_with(flags or {})
        agent = self.agent
        self._fence(settings)
        agent.model = await self.model(settings.model)
        as_set(agent.model, settings)
        agent.tools = self.tools_with(settings)
        agent.instructions = settings.instructions
        self.approval.set(settings.approve, settings.approve_min)
        agent.approve = self.approval
        return settings

    def tools_with(self, settings: Settings) -> dict[str, Tool]:
        """What the agent may call; a tool that the person defined wins over ours of the same name."""
        lent: dict[str, Tool] = {}
        if settings.recall:
            from cellwright.recall import RecallTool

            lent["recall"] = RecallTool(self.journal)
        return {**lent, **self.mcp.tools, **self.tools}

    async def _shown(
        self, events: AsyncGenerator[Event], *, before: Sequence[Event] = (), with_answer: bool = False
    ) -> Run:
        from .widget import RunView, display_view, finish

        wishes = Wishes(self.agent, self._steering, self._by_hand, self._add_cell)
        loop = asyncio.get_running_loop()
        self._person.view = view = RunView(
            on_stop=self.stop,
            on_seen=self._lines.seen,
            on_wish=lambda wish: loop.call_soon_threadsafe(wishes.take, wish),
            can=offered(self._by_hand, is_going=True),
        )
        self._lines.begin(view.run)
        for event in before:
            view.take(event)
        shown = None
        async with self._at_work(events) as stream:
            async for event in stream:
                view.take(event)
                self._lines.take(event)
                # The view is shown with the first event, so that a task that can't begin shows its error alone.
                shown = shown or display_view(view)
        run = view.run
        if shown:
            await self._lines.end()
            finish(shown, run, with_answer=with_answer)
        self.last_run = run
        return run if await wishes.grant(run) else _ended_well(run)

    async def _undo_to(self, run: Run, step: int) -> str:
        await self._ready()
        return await taken_back(self.agent, run, step)

    async def show(self, run: Run) -> None:
        """Bring a finished run back, with its buttons where a page can show them."""
        await self.brought_back.show(run, offered(self._by_hand, is_going=False))

    def _fence(self, settings: Settings) -> None:
        """Have the sandbox isolated as settings say; one that runs can't be changed. Raises `UsageError`."""
        sandbox = self.agent.sandbox
        if not isinstance(sandbox, ChildKernel) or settings.isolation == sandbox.isolation:
            return
        if sandbox.is_running:
            raise UsageError(
                "The sandbox runs already, and how it is isolated can't be changed then: `%agent reset` starts a new "
                "one, without the variables, as `%agent sandbox` says it."
            )
        sandbox.fence(settings.isolation)

    async def reset(self) -> None:
        """A new conversation in a new sandbox, isolated as settings say now."""
        sandbox = self.agent.sandbox
        await sandbox.close()
        self._fence(self.settings)
        await self.agent.reset()
        self.last_run = None

    async def run_by_hand(self, code: str, listener: Callable[[Event], Awaitable[None] | None]) -> Run:
        """Run a person's own code in the sandbox; `listener` hears every event."""
        agent = self.agent
        if not agent.sandbox.is_running:
            self._fence(self.settings)
        agent.tools = self.tools_with(self.settings)
        self._loop = asyncio.get_running_loop()
        agent.listeners.append(listener)
        asks, agent.on_input = agent.on_input, self._ask  # it is the person's own code that asks
        try:
            return await agent.run_by_hand(code)
        finally:
            agent.on_input = asks
            agent.listeners.remove(listener)

    @asynccontextmanager
    async def _at_work(self, events: Any) -> AsyncIterator[Any]:
        self._loop = asyncio.get_running_loop()
        try:
            yield events
        finally:
            await events.aclose()

    async def _ask_for_code(self, prompt: str, password: bool) -> str:
        """What the agent's code asks for; said so, since it could write any prompt."""
        assert self._ask
        return await self._ask(f"The agent's code asks: {prompt}", password)

    async def fill_in(self, text: str) -> str:
        """`text` with `{name}` replaced by the value of that sandbox variable; unknown names stay as written."""
        names = set(_NAME_IN_BRACES.findall(text))
        if not names or not self.agent.sandbox.is_running:
            return text
        values = await self.agent.sandbox.render(sorted(names))
        return _NAME_IN_BRACES.sub(lambda match: values.get(match[1], match[0]), text)

    async def answer_of(self, run: Run) -> object:
        """The answer as a value of this process: plain data or a table. Raises `ValueNotTransferable`."""
        if run.answered is None:
            return None
        if run.answered.has_value:
            return run.answered.value
        return decode(*await self.agent.sandbox.get("_answer"))

    async def aclose(self) -> None:
        """End sandbox, model and MCP servers."""
        self.brought_back.settle()
        await self.mcp.aclose()
        if self._agent:
            self._agent.stop()
            await self._agent.aclose()


def _ended_well(run: Run) -> Run:
    if run.status == "success":
        return run
    if run.status == "interrupted":
        raise RunInterrupted("Stopped. What was done stays; the sandbox keeps its variables.")
    raise RunFailed(run.reason or run.status)


def _journal(settings: Settings) -> Any:
    from cellwright.journal import Journal, default_path

    return Journal(settings.journal or default_path())
