"""Settings: what a person wants, from where it was said last.

A flag wins over the environment (`CELLWRIGHT_MODEL`, `CELLWRIGHT_BUDGET`, ...; `.env` in the current folder counts as
environment), that over the config file (`c.Cellwright.model = ...` in `jupyter_config.py`, `jupyter_config.d/*.json` or
the running IPython's config), that over the defaults. A wrong value is one line that names the place where it stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .approval import MODES, Mode, stricter
from .errors import ConfigError, UsageError, nearest, one_line
from .limits import Limits
from .outputs import Json
from .sandbox.isolation import Isolation

if TYPE_CHECKING:
    from traitlets.config import Config


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    model: str | None = None
    """litellm's name of a model, or `embedded`; None takes what is found."""
    limits: Limits = field(default_factory=Limits)
    kernel_name: str = "python3"
    """The Jupyter kernelspec in which code runs."""
    journal: Path | None = None
    """The journal's file; None means the one in Jupyter's data folder."""
    isolation: Isolation = field(default_factory=Isolation)
    """How the sandbox is fenced in."""
    instructions: str = ""
    """What the agent should keep in mind for every task."""
    requests_per_minute: int | None = None
    """Requests that a model is sent in any 60 seconds, by all agents of the process; None: as many as come up."""
    approve: Mode = "auto"
    """Who decides whether an action runs."""
    approve_min: Mode = "auto"
    """What an administrator wants asked at least; from environment and config only, and the strictest of them holds."""
    recall: bool = False
    """The agent may search the runs of the current folder."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Name of a setting -> where its value was said; defaults are left out."""


def _number(value: Json) -> float | None:
    if isinstance(value, str) and value.strip().lower() == "none":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("a number, or none to lift the limit")
    try:
        return float(value)
    except ValueError:
        raise ValueError("a number, or none to lift the limit") from None


def _count(value: Json) -> int | None:
    number = _number(value)
    if number is None:
        return None
    if number != int(number):
        raise ValueError("a whole number, or none to lift the limit")
    return int(number)


def _rate(value: Json) -> int | None:
    number = _count(value)
    if number is not None and number < 1:
        raise ValueError("1 or more, or none to lift the limit")
    return number


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _switch(value: Json) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise ValueError("true or false")
    return found


def _mode(value: Json) -> Mode:
    for mode in MODES:
        if value == mode:
            return mode
    raise ValueError(f"one of {', '.join(MODES)}")


def _path(value: Json) -> Path:
    if not isinstance(value, (str, Path)):
        raise ValueError("a path")
    return Path(value).expanduser()


def _size(value: Json) -> int | None:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if isinstance(value, str) and value.strip().lower() == "none":
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError:
        raise ValueError("a size such as 500MB or 2GiB, or none to lift the limit") from None


def _paths(value: Json) -> tuple[Path, ...]:
    """Paths: a list, or one text with the system's separator (`:`) between them."""
    listed = value.split(os.pathsep) if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)):
        raise ValueError("a list of paths")
    paths = tuple(_path(item) for item in listed if item)
    for path in paths:
        if not path.exists():
            raise ValueError(f"paths that exist ({path} does not)")
    return paths


READERS: Mapping[str, Callable[[Json], Any]] = {
    "model": _text,
    "max_steps": _count,
    "max_seconds": _number,
    "max_tokens": _count,
    "budget": _number,
    "action_seconds": _number,
    "kernel_name": _text,
    "isolation": _text,
    "network": _text,
    "read": _paths,
    "memory": _size,
    "processes": _count,
    "file_size": _size,
    "workspace_size": _size,
    "tmp_size": _size,
    "shm_size": _size,
    "journal": _path,
    "instructions": _text,
    "requests_per_minute": _rate,
    "recall": _switch,
    "approve": _mode,
    "approve_min": _mode,
}
"""Setting -> how its value is read; a `ValueError` says what it should have been."""
LIMITS = {
    "max_steps": "steps",
    "max_seconds": "seconds",
    "max_tokens": "tokens",
    "budget": "cost",
    "action_seconds": "action_seconds",
}
"""Setting -> the field of `Limits` that it sets."""
ISOLATION = {
    "isolation": "level",
    **{n: n for n in ("network", "read", "memory", "processes", "file_size", "workspace_size", "tmp_size", "shm_size")},
}
"""Setting -> the field of `Isolation` that it sets."""
_FROM_DOTENV = ("_API_KEY", "_API_BASE", "_BASE_URL")
_FROM_DOTENV_TOO = ("AWS_", "AZURE_", "VERTEXAI_", "OLLAMA_", "CELLWRIGHT_JOURNAL", "CELLWRIGHT_MODELS")


def gather(flags: Mapping[str, Json] | None = None, config: Config | None = None, *, least: Mode = "auto") -> Settings:
    """The settings that hold now; flags that are None were not given. Raises `ConfigError`, for flags `UsageError`.

    least: what must be asked at least, whatever is said now.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, said in _places(config):  # weakest first
        for name, value in said.items():
            read = _read(name, value, source)
            if name != "approve_min" or stricter(read, values.get(name, "auto")) == read:
                values[name], sources[name] = read, source
    for name, value in (flags or {}).items():
        if name in READERS and name != "approve_min" and value is not None and value != ():
            values[name] = _read(name, value, f"--{name.replace('_', '-')}", UsageError)
            sources[name] = f"--{name.replace('_', '-')}"
    values |= _approving(values, sources, least)
    limits, isolation = Limits(), Isolation()
    for name, limit in LIMITS.items():
        if name in values:
            limits = _changed(limits, limit, values.pop(name), sources[name])
    for name, part in ISOLATION.items():
        if name in values:
            isolation = _changed(isolation, part, values.pop(name), sources[name])
    return Settings(limits=limits, isolation=isolation, sources=sources, **values)


def _approving(values: Mapping[str, Any], sources: Mapping[str, str], least: Mode) -> dict[str, Mode]:
    """The mode of approval, and the least; a flag that asks for less than that is refused, other places are raised."""
    least = stricter(least, values.get("approve_min", "auto"))
    wanted: Mode = values.get("approve", "auto")
    if sources.get("approve") == "--approve" and stricter(wanted, least) != wanted:
        where = sources.get("approve_min", "when this session began")
        raise UsageError(f"--approve {wanted}: an administrator wants at least {least} ({where}); it can't be lifted.")
    return {"approve": stricter(wanted, least), "approve_min": least}


def _places(config: Config | None) -> Iterator[tuple[str, dict[str, Json]]]:
    """Where settings are said, weakest first, with what is said there."""
    for path, said in _jupyter_configs():
        yield str(path), _known(said.get("Cellwright", {}), str(path))
    if config is not None:
        yield "c.Cellwright", _known(config.get("Cellwright", {}), "c.Cellwright")
    environment = {**_dotenv(), **os.environ}
    for name in READERS:
        variable = f"CELLWRIGHT_{name.upper()}"
        # The journal reads its own variable, which may also say `off`.
        if name != "journal" and environment.get(variable):
            yield variable, {name: environment[variable]}


def _known(said: Mapping[str, Json], source: str) -> dict[str, Json]:
    for name in said:
        if name not in READERS:
            raise ConfigError(f"{source}: there is no setting {name!r}{nearest(name, READERS)}")
    return dict(said)


def _read(name: str, value: Json, source: str, error: type[ConfigError | UsageError] = ConfigError) -> Any:
    if value is None and name in (*LIMITS, *ISOLATION, "requests_per_minute"):
        return None
    try:
        return READERS[name](value)
    except (ValueError, OverflowError) as wrong:
        raise error(f"{source}: {name} must be {wrong}, not {one_line(repr(value), 60)}.") from wrong


_Group = TypeVar("_Group", Limits, Isolation)


def _changed(group: _Group, name: str, value: Any, source: str) -> _Group:
    try:
        return replace(group, **{name: value})
    except UsageError as wrong:
        if source.startswith("--"):
            raise UsageError(f"{source}: {wrong}") from wrong
        raise ConfigError(f"{source}: {wrong}") from wrong


def _dotenv() -> dict[str, str]:
    """`.env` of the current folder. Providers' keys in it are put into the environment, where nothing is overridden."""
    path = Path(".env")
    if not path.is_file():
        return {}

    from dotenv import dotenv_values

    try:
        said = {name: value for name, value in dotenv_values(path).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f".env can't be read: {one_line(str(error))}.") from error
    for name, value in said.items():
        # Only these: what else stands in there (a database's password) is no business of code that agents write.
        if name.endswith(_FROM_DOTENV) or name.startswith(_FROM_DOTENV_TOO):
            os.environ.setdefault(name, value)
    return said


def _jupyter_configs() -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Jupyter's config files that exist, weakest first."""
    from jupyter_core.paths import jupyter_config_path

    for folder in map(Path, reversed(jupyter_config_path())):
        paths = [folder / "jupyter_config.json", *sorted(folder.glob("jupyter_config.d/*.json"))]
        for path in paths:
            if path.is_file():
                yield path, _json_config(path)
        if (path := folder / "jupyter_config.py").is_file():
            yield path, _python_config(path)


def _json_config(path: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {one_line(str(error))}.") from error
    return said if isinstance(said, dict) else {}


def _python_config(path: Path) -> Mapping[str, Any]:
    from traitlets.config.loader import PyFileConfigLoader

    try:
        said: Mapping[str, Any] = PyFileConfigLoader(path.name, str(path.parent)).load_config()
    except Exception as error:  # a config file is the person's own program and may raise anything
        raise ConfigError(f"{path} failed: {type(error).__name__}: {one_line(str(error))}.") from error
    return said
