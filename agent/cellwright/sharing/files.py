"""The files of a shared tool or agent: read within bounds, written without secrets, shown before anything runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import __version__
from ..errors import CellwrightError, one_line
from ..outputs import Json
from ..secrets import SEARCHED_CHARACTERS, redacted

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
VERSION = 1
"""Of the format."""
TOOL_CARD, TOOL_CODE, AGENT_CARD, REQUIREMENTS = "tool.json", "tool.py", "agent.json", "requirements.txt"
MOST_FILES = 200
MOST_BYTES = 1 << 20
"""So large may one file be."""
DEEPEST = 8
"""So deep may agents be nested."""
SHOWN_FILES = 8

Files = Mapping[str, str]
"""Path inside the folder, with `/` -> text."""


class SharingError(CellwrightError):
    """A tool or an agent can't be saved, loaded, pushed or pulled."""


class NotTrusted(SharingError):
    """Nothing was run: loading needs `trust=True`. The text says what would run."""

    def __init__(self, files: Files, where: str) -> None:
        paths = sorted(files, key=lambda path: (not path.endswith(".py"), path))
        shown = "; ".join(f"{path} ({_about(files[path])})" for path in paths[:SHOWN_FILES])
        more = f"; and {len(paths) - SHOWN_FILES} more" if len(paths) > SHOWN_FILES else ""
        super().__init__(f"Nothing of {where} was run. Read it, then load it with trust=True: {shown}{more}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCard:
    """`tool.json`."""

    format: str
    name: str
    description: str
    entry: str
    """The function or class of `tool.py` that is the tool."""
    parameters: Json = None
    signature: str = ""
    seconds: float | None = None
    """How long a call may take."""
    requirements: Mapping[str, str] = field(default_factory=dict)
    """Package -> version with which it was saved."""
    cellwright: str = __version__
    version: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCard:
    """`agent.json`."""

    format: str
    kind: str
    name: str = ""
    description: str = ""
    model: str | None = None
    instructions: str = ""
    limits: Mapping[str, int | float | None] = field(default_factory=dict)
    options: Mapping[str, Json] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    """Names of folders beneath `tools`."""
    agents: tuple[str, ...] = ()
    """Names of folders beneath `agents`."""
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Option -> what it held that no folder can hold; it must be given when the agent is loaded."""
    cellwright: str = __version__
    version: int = VERSION


def as_text(card: ToolCard | AgentCard) -> str:
    """The card as JSON."""
    return json.dumps(asdict(card), indent=2, ensure_ascii=False, default=dict) + "\n"


def card_of(kind: type[T], files: Files, path: str, where: str) -> T:
    """The card in `path`. Raises `SharingError` for one that is damaged or newer."""
    from pydantic import TypeAdapter, ValidationError

    try:
        card = TypeAdapter(kind).validate_json(files[path])
    except KeyError:
        raise SharingError(f"{where} has no {path}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SharingError(
            one_line(f"{where}/{path} is damaged: {place + ': ' if place else ''}{first['msg']}")
        ) from None
    found: Any = card
    if found.format != f"cellwright-{path.removesuffix('.json')}" or found.version != VERSION:
        said = one_line(f"{found.format!r} {found.version}", 60)
        raise SharingError(f"{where}/{path} is of another format ({said}); this Cellwright reads version {VERSION}.")
    return card


def beneath(files: Files, folder: str) -> dict[str, str]:
    """The files of a folder inside."""
    return {path.removeprefix(f"{folder}/"): text for path, text in files.items() if path.startswith(f"{folder}/")}


def put_into(folder: str, files: Files) -> dict[str, str]:
    """The same files, one folder deeper."""
    return {f"{folder}/{path}": text for path, text in files.items()}


def is_wanted(path: str) -> bool:
    """True for what is read and pulled of a folder: its own files and those of folders named as they must be."""
    *folders, name = path.split("/")
    pairs = list(zip(folders[::2], folders[1::2], strict=False))
    return (
        name in (TOOL_CARD, TOOL_CODE, AGENT_CARD, REQUIREMENTS)
        and len(folders) == 2 * len(pairs) <= 2 * DEEPEST
        and all(kind in ("tools", "agents") and inner.isidentifier() for kind, inner in pairs)
    )


def read_folder(folder: str | Path) -> dict[str, str]:
    """What a saved folder holds; links are not followed. Raises `SharingError`."""
    root = Path(folder).expanduser()
    try:
        found = {path: _text(root / path, str(root)) for path in _paths(root)}
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        raise SharingError(f"Can't read {_shown(root)}: {_why(error)}.") from None
    if not found:
        raise SharingError(f"{_shown(root)} holds no saved tool or agent.")
    return found


def decoded(body: bytes, path: str, where: str) -> str:
    """The text of a file. Raises `SharingError` where it is none, or too large."""
    if len(body) > MOST_BYTES:
        raise SharingError(f"{where}: {path} is larger than {MOST_BYTES:,} bytes.")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise SharingError(f"{where}: {path} is no text in UTF-8.") from None


def write_folder(folder: str | Path, files: Files) -> Path:
    """Write the files into a folder that is new, empty, or holds an earlier save. Raises `SharingError`."""
    root = Path(folder).expanduser()
    refuse_secrets(files)
    try:
        if (
            root.exists()
            and any(root.iterdir())
            and not any((root / card).exists() for card in (TOOL_CARD, AGENT_CARD))
        ):
            raise SharingError(f"{_shown(root)} is not empty, and holds no saved tool or agent. Name a new folder.")
        # The card comes last: a save that broke off has none, and is not taken for a whole one.
        for path in sorted(files, key=lambda path: path.endswith(".json")):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(files[path], "utf-8")
    except (OSError, ValueError) as error:
        raise SharingError(f"Can't write {_shown(root)}: {_why(error)}.") from None
    return root


def refuse_secrets(files: Files) -> None:
    """Raise `SharingError` for a file with a secret: a `Secret` of this process, or a key of its environment."""
    keys = {
        name: value
        for name, value in os.environ.items()
        if name.endswith(("KEY", "TOKEN", "SECRET", "PASSWORD")) and len(value) >= SEARCHED_CHARACTERS
    }
    for path, text in files.items():
        if redacted(text) != text:
            raise SharingError(f"{path} would hold the value of a Secret. Read it where the tool is called.")
        for name, value in keys.items():
            if value in text:
                raise SharingError(f"{path} would hold the value of {name}. Read it from the environment instead.")


def _paths(root: Path) -> Iterator[str]:
    count = 0
    for folder, folders, names in os.walk(root, onerror=_raise):
        inside = Path(folder).relative_to(root).parts
        folders[:] = [] if len(inside) >= 2 * DEEPEST else sorted(folders)
        for name in sorted(names):
            path = "/".join([*inside, name])
            if is_wanted(path) and not Path(folder, name).is_symlink():
                count += 1
                if count > MOST_FILES:
                    raise SharingError(f"{_shown(root)} has more than {MOST_FILES} files.")
                yield path


def _raise(error: OSError) -> None:
    raise error


def _text(path: Path, where: str) -> str:
    with path.open("rb") as file:
        return decoded(file.read(MOST_BYTES + 1), path.name, where)


def _shown(path: Path) -> str:
    return one_line(str(path).encode(errors="replace").decode().replace("\0", "?"), 120)


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or one_line(str(error), 120)


def _about(text: str) -> str:
    """How long it is, which bytes, and how it begins."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(('"instructions": "', '"description": "'))]
    code = [line for line in lines if not line.startswith(("from ", "import ", "{", "#", '"""'))]
    first = next(iter(sorted(said, reverse=True) or code), "")
    sha256 = hashlib.sha256(text.encode()).hexdigest()[:12]
    begins = "".join(character if character.isprintable() else "?" for character in one_line(first, 60))
    return f"{len(lines)} lines, {sha256}: {begins}"
