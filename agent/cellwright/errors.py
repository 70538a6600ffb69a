"""Every error that Cellwright raises, in one tree; each words itself and says what to do.

CellwrightError
├── UsageError                 a word or option that a person typed is wrong
├── ConfigError                a setting is wrong
├── ModelError
│   ├── NoModel                nothing found that could answer
│   ├── UnknownModel           the provider has no model of that name
│   ├── ModelKeyError          the key is missing or was refused
│   ├── ModelUnavailable       no connection, overloaded, or broken off in mid-reply
│   ├── ContextFull            the conversation is longer than the model reads
│   └── ModelFileError         the embedded model's file is missing or damaged
├── SandboxError
│   ├── SandboxUnavailable     it did not start, so no code was run
│   ├── SandboxDied            its process ended
│   ├── ValueNotTransferable   a value has no safe form to cross in
│   └── WorkspaceError         a file can't cross, or the folder can't be used
├── SharingError               a tool or agent can't be shared (in cellwright.sharing)
│   └── NotTrusted             nothing was run; says what would
├── ToolError
│   ├── McpUnavailable         an MCP server can't be reached (in cellwright.mcp)
│   ├── ToolDefinitionError    a function can't be made a tool
│   └── ToolCallError          a call does not fit the tool, or the tool failed
├── JournalError               the journal can't be read or written
│   └── UnknownRun             no run of that id
├── ExportError                the audit notebook can't be written
└── RunFailed                  a run ended without an answer (raised by faces, never by the loop)
    └── RunInterrupted         the person pressed stop
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class CellwrightError(Exception):
    """Base of all errors of Cellwright. Its text is one line, made to be shown to a person."""

    def _render_traceback_(self) -> list[str]:
        """Show one line instead of a traceback (IPython's protocol for exceptions)."""
        return [f"\x1b[31m{type(self).__name__}\x1b[0m: {self}"]


class UsageError(CellwrightError):
    """A word or an option that a person typed is wrong."""


class ConfigError(CellwrightError):
    """A setting has a wrong value."""


class ModelError(CellwrightError):
    """The model did not answer."""


class NoModel(ModelError):
    """Nothing was found that could answer: no key, no local server, no embedded model."""

    def __init__(self) -> None:
        super().__init__(
            "No model to answer. Three ways on: `cellwright model pull` gets the embedded one (1.1 GB, no key, no "
            "network afterwards); or set a provider's key, e.g. ANTHROPIC_API_KEY or OPENAI_API_KEY; or name a model, "
            "e.g. `--model ollama/qwen2.5-coder`."
        )


class UnknownModel(ModelError):
    """No provider has a model of that name."""

    def __init__(self, name: str, known: Iterable[str] = (), why: str = "") -> None:
        super().__init__(
            f"Unknown model {name!r}{nearest(name, known)} "
            f"Names are written provider/model, e.g. anthropic/claude-sonnet-4-5, or embedded.{_because(why)}"
        )


class ModelKeyError(ModelError):
    """The provider's key is missing or was refused."""

    def __init__(self, name: str, variables: Sequence[str] = (), why: str = "") -> None:
        if variables:
            what = f"{name} needs a key: set {' and '.join(variables)} in the environment or in .env"
        else:
            what = f"The provider refused the key for {name}: check it"
        super().__init__(f"{what}, or choose another model.{_because(why)}")


class ModelUnavailable(ModelError):
    """No connection to the model, or it broke off; worth trying again."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} did not answer: {why} Run the cell again, or choose another model.")


class ContextFull(ModelError):
    """The conversation is longer than the model can read."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The conversation is longer than {name} can read. `%agent new` starts a new one and keeps the variables."
        )


class ModelFileError(ModelError):
    """The embedded model's file can't be had, or its bytes are not the pinned ones."""


class SandboxError(CellwrightError):
    """The sandbox could not do what it was asked."""


class SandboxUnavailable(SandboxError):
    """No sandbox could be started; no code was run."""


class SandboxDied(SandboxError):
    """The sandbox's process ended."""


class ValueNotTransferable(SandboxError):
    """A value has no safe form in which it could cross the sandbox's border."""


class WorkspaceError(SandboxError):
    """A file can't be read from or copied into the workspace."""


class ToolError(CellwrightError):
    """Something about a tool."""


class ToolDefinitionError(ToolError):
    """A function or class can't be made a tool."""


class ToolCallError(ToolError):
    """A call does not fit the tool's arguments, or the tool itself failed."""


class JournalError(CellwrightError):
    """The journal can't be read or written."""


class UnknownRun(JournalError):
    """The journal has no run of that id."""

    def __init__(self, run_id: str, known: Iterable[str] = ()) -> None:
        super().__init__(f"No run {run_id!r} in the journal{nearest(run_id, known)} `cellwright runs` lists them.")


class ExportError(CellwrightError):
    """The audit notebook can't be written."""


class RunFailed(CellwrightError):
    """A run ended without an answer."""


class RunInterrupted(RunFailed):
    """The person stopped the run."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a known word is close, else a full stop: to end a message with."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def one_line(text: str, limit: int = 300) -> str:
    """`text` with white space folded, cut at `limit` characters: for messages made from a library's error."""
    folded = " ".join(text.split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def _because(why: str) -> str:
    return f" ({one_line(why)})" if why else ""
