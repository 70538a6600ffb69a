"""Which servers to connect: from the usual `mcpServers` JSON file, or from words that a person types.

The file is the one that Claude Desktop and Claude Code (`mcpServers`), VS Code (`servers`, or `mcp.servers` in its
settings, with comments) and other editors write. Each mistake is told with the file and the key.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError, UsageError, one_line
from ..outputs import Json

_OURS = "command args env cwd url headers type".split()
_HTTP = {"http", "streamable-http", "streamableHttp", "streamable_http"}
_COMMENT_OR_STRING = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_STRING_OR_LAST_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])')
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_EXAMPLE = "`NAME -- command args`, or `NAME https://...`"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How one MCP server is reached. Raises `ConfigError` where it is neither a command nor an address.

    Values of `env` and `headers` are often keys: they are not shown.
    """

    name: str
    command: str = ""
    """Program to start; it is spoken to over stdin and stdout."""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables it gets besides HOME, PATH and the like; it gets no others, so no provider's key."""
    cwd: Path | None = None
    url: str = ""
    """Address of a streamable HTTP server, instead of a command."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    start_seconds: float = 60.0
    """Until it must have answered the first time; `uvx` and `npx` may have to fetch the server first."""
    call_seconds: float = 300.0
    """Until a call must have been answered."""

    def __post_init__(self) -> None:
        where = f"MCP server {self.name}"
        if not self.name or re.search(r"\s", self.name):
            raise ConfigError(f"{self.name!r} can't be the name of an MCP server: one word, please.")
        if bool(self.command) == bool(self.url):
            raise ConfigError(f"{where}: it needs either a command or a url.")
        if self.url:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(f"{where}: url: {self.url!r} is no http or https address.")

    @property
    def place(self) -> str:
        """The command line or the address, to be shown."""
        return self.url or " ".join((self.command, *self.args))


def settings_from_words(
    name: str, words: Sequence[str], *, env: Iterable[str] = (), headers: Iterable[str] = ()
) -> ServerSettings:
    """The server that a person typed: `-- command args`, `command args`, or an address. Raises `UsageError`.

    env: `KEY=VALUE`, for a command. headers: `Name: value`, for an address.
    """
    words = list(words)
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise UsageError(f"What is to be added? {_EXAMPLE}")
    try:
        if re.match(r"https?:", words[0]):
            if len(words) > 1:
                raise UsageError(f"Behind an address nothing else may stand, but there is {words[1]!r}.")
            if list(env):
                raise UsageError("A server behind an address gets headers, no variables of the environment.")
            return ServerSettings(
                name, url=words[0], headers=_pairs(headers, ":", "A header is written 'Name: value'.")
            )
        return ServerSettings(
            name, command=words[0], args=tuple(words[1:]), env=_pairs(env, "=", "A variable is written KEY=VALUE.")
        )
    except ConfigError as error:
        raise UsageError(str(error)) from None


def _pairs(texts: Iterable[str], mark: str, how: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, has_mark, value = text.partition(mark)
        if not has_mark or not name.strip():
            raise UsageError(how)  # what was typed may be a key, and the error stays in the notebook
        found[name.strip()] = value.strip() if mark == ":" else value
    return found


def read_file(path: Path | str) -> list[ServerSettings]:
    """The servers of an `mcpServers` JSON file, without those that are disabled.

    `${NAME}`, `${NAME:-default}`, `${env:NAME}`, `${userHome}` and `${workspaceFolder}` are filled in.
    Raises `ConfigError`, naming file and key.
    """
    path = Path(path).expanduser()
    data = _loaded(path)
    servers, where = _servers(data, path)
    return [
        _server(name, entry, f"{path}: {where}.{name}", path)
        for name, entry in servers.items()
        if not (isinstance(entry, Mapping) and (entry.get("disabled") is True or entry.get("enabled") is False))
    ]


def _loaded(path: Path) -> Json:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8.") from None
    # Comments become as many spaces, so that the line and column of a mistake stay true.
    text = _COMMENT_OR_STRING.sub(lambda m: m[0] if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), text)
    text = _STRING_OR_LAST_COMMA.sub(lambda m: m[0] if m[0][0] == '"' else " ", text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {one_line(str(error))}.") from None


def _servers(data: Json, path: Path) -> tuple[Mapping[str, Json], str]:
    """The table of servers, and the key under which it stands."""
    for where in ("mcpServers", "servers", "mcp.servers"):
        found = data
        for key in where.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is not None:
            if not isinstance(found, Mapping):
                raise ConfigError(f"{path}: {where}: should be an object of servers by name; got {_kind(found)}.")
            return found, where
    keys = ", ".join(map(repr, data)) if isinstance(data, Mapping) and data else "none"
    raise ConfigError(f"{path} has no key 'mcpServers' (nor VS Code's 'servers'); its keys: {one_line(keys, 120)}.")


def _server(name: str, entry: Json, where: str, path: Path) -> ServerSettings:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: should be an object; got {_kind(entry)}.")
    for key in entry:
        # Editors keep settings of their own here; only what looks misspelt is a mistake.
        if key not in _OURS and (close := get_close_matches(key, _OURS, n=1, cutoff=0.8)):
            raise ConfigError(f"{where}: unknown key {key!r}; did you mean {close[0]!r}?")
    kind = str(entry.get("type") or entry.get("transport") or "")
    if kind == "sse":
        raise ConfigError(f"{where}: type: sse is the transport that streamable HTTP replaced; ask for its http url.")
    if kind not in ("", "stdio", *_HTTP):
        raise ConfigError(f"{where}: type: should be stdio or http; got {kind!r}.")
    url_key = next((key for key in ("url", "serverUrl", "httpUrl") if key in entry), "url")
    url = _text(entry, url_key, where, path)
    command = _text(entry, "command", where, path)
    if not url and not command:
        raise ConfigError(f"{where}: it needs a command (a server to start) or a url (one that runs).")
    if url and command:
        raise ConfigError(f"{where}: it has a command and a {url_key}; one of them must go.")
    try:
        return ServerSettings(
            name=name,
            command=command,
            args=tuple(_list(entry, "args", where, path)),
            env={**_env_file(entry, where, path), **_table(entry, "env", where, path)},
            cwd=Path(cwd).expanduser() if (cwd := _text(entry, "cwd", where, path)) else None,
            url=url,
            headers=_table(entry, "headers", where, path),
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


# ---- values ----------------------------------------------------------------------------------------------------------


def _text(entry: Mapping[str, Any], key: str, where: str, path: Path) -> str:
    value = entry.get(key)
    return "" if value is None else _filled(value, f"{where}.{key}", path)


def _list(entry: Mapping[str, Any], key: str, where: str, path: Path) -> list[str]:
    value = entry.get(key) or []
    if not isinstance(value, list):
        raise ConfigError(f"{where}.{key}: should be a list of strings; got {_kind(value)}.")
    return [_filled(item, f"{where}.{key}.{number}", path) for number, item in enumerate(value)]


def _table(entry: Mapping[str, Any], key: str, where: str, path: Path) -> dict[str, str]:
    value = entry.get(key) or {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}.{key}: should be an object of strings; got {_kind(value)}.")
    return {
        name: _filled(str(item) if isinstance(item, int) else item, f"{where}.{key}.{name}", path)
        for name, item in value.items()
        if item is not None
    }


def _env_file(entry: Mapping[str, Any], where: str, path: Path) -> dict[str, str]:
    name = _text(entry, "envFile", where, path)
    if not name:
        return {}
    from dotenv import dotenv_values

    file = _workspace(path) / Path(name).expanduser()
    if not file.is_file():
        raise ConfigError(f"{where}.envFile: there is no file {file}.")
    return {key: value for key, value in dotenv_values(file).items() if value is not None}


def _filled(value: Json, where: str, path: Path) -> str:
    """`value` with its variables filled in. Raises `ConfigError` for one that is not set, or no string."""
    if not isinstance(value, str):
        raise ConfigError(f"{where}: should be a string; got {_kind(value)}.")

    def fill(match: re.Match[str]) -> str:
        kind, _, rest = match[1].rpartition(":") if match[1].startswith(("env:", "input:")) else ("", "", match[1])
        if kind == "input":
            raise ConfigError(f"{where}: {match[0]} would have to be asked for; write ${{env:NAME}} instead.")
        if match[1] in ("workspaceFolder", "userHome"):
            return str(_workspace(path) if match[1] == "workspaceFolder" else Path.home())
        name, has_default, default = rest.partition(":-")
        if name not in os.environ and not has_default:
            raise ConfigError(f"{where}: the environment has no variable {name}.")
        return os.environ.get(name) or default

    return _VARIABLE.sub(fill, value)


def _workspace(path: Path) -> Path:
    """The folder that the file is about: `.vscode/mcp.json` is about the one above."""
    folder = path.absolute().parent
    return folder.parent if folder.name in (".vscode", ".cursor") else folder


def _kind(value: object) -> str:
    return f"{one_line(json.dumps(value), 60)} ({type(value).__name__})"
