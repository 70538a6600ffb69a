"""What is risky about an action, read from the syntax tree before it runs.

It names reasons to ask a person: network, files outside the workspace, deletion, other programs, installs, tools that
are marked risky. It is made for a model that means well; the security boundary is the sandbox. What can't be judged
(text that is no Python, magics, `exec`, `getattr`, a module under another name) is a reason, too: when in doubt, a
person is asked. A capability is named where it is taken hold of (`f = os.remove`), not only where it is called, so that
a later action does not get at it unseen.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from .errors import one_line

Kind = Literal["network", "outside the workspace", "deletion", "other programs", "installs", "risky tool", "unclear"]


@dataclass(frozen=True, slots=True)
class Risk:
    """One reason to ask."""

    kind: Kind
    what: str
    """The name, path or text that is the reason."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


_NETWORK = frozenset(
    "socket socketserver ssl requests urllib urllib3 http httpx httplib2 aiohttp ftplib smtplib poplib "
    "imaplib nntplib telnetlib xmlrpc websocket websockets paramiko fabric boto3 botocore s3fs gcsfs adlfs fsspec "
    "huggingface_hub openai anthropic litellm selenium playwright mechanize scapy zmq grpc redis pymongo psycopg "
    "psycopg2 pymysql sqlalchemy kafka pika tornado webbrowser yfinance pandas_datareader".split()
)
_PROGRAMS = frozenset(
    "subprocess pty pexpect sh plumbum invoke sarge posix nt _posixsubprocess multiprocessing".split()
)
_INSTALLS = frozenset("pip conda ensurepip setuptools easy_install venv virtualenv".split())
_UNCLEAR = frozenset(
    "importlib imp runpy builtins code codeop ctypes cffi pickle _pickle cloudpickle dill joblib shelve marshal gc "
    "inspect IPython ipykernel zipimport pkgutil site pdb bdb".split()
)
_WITH_POWER = frozenset(("os", "shutil", "sys", "asyncio", "operator"))
_MODULES = _NETWORK | _PROGRAMS | _INSTALLS | _UNCLEAR | _WITH_POWER
_HARMLESS = frozenset(("urllib.parse", "http.HTTPStatus", "urllib.error"))
"""Parts of modules that are named above which do nothing outside."""

_BY_NAME: dict[str, Kind] = {
    **dict.fromkeys(
        "os.remove os.unlink os.rmdir os.removedirs os.truncate os.rename os.renames os.replace shutil.rmtree "
        "shutil.move".split(),
        "deletion",
    ),
    **dict.fromkeys(
        "os.system os.popen os.fork os.forkpty os.kill os.killpg os.startfile asyncio.create_subprocess_exec "
        "asyncio.create_subprocess_shell asyncio.subprocess".split(),
        "other programs",
    ),
    **dict.fromkeys("asyncio.open_connection asyncio.start_server asyncio.open_unix_connection".split(), "network"),
    **dict.fromkeys("os.pardir os.chroot os.fchdir os.chdir os.symlink os.link".split(), "outside the workspace"),
    **dict.fromkeys("sys.modules sys.meta_path sys.path_hooks sys._getframe operator.attrgetter".split(), "unclear"),
    **dict.fromkeys("operator.methodcaller os.environb sys.settrace sys.setprofile".split(), "unclear"),
}
_BUILTINS = frozenset(
    "exec eval compile __import__ getattr setattr delattr globals locals vars breakpoint __builtins__ __loader__ "
    "__spec__ get_ipython".split()
)
_METHODS: dict[str, Kind] = {
    **dict.fromkeys(("unlink", "rmdir", "rmtree", "removedirs"), "deletion"),
    **dict.fromkeys(("home", "expanduser", "expandvars"), "outside the workspace"),
    **dict.fromkeys(("run_cell", "run_line_magic", "run_cell_magic", "getoutput"), "unclear"),
}
_PLAIN_DUNDERS = frozenset(f"__{name}__" for name in "name doc version init class file len str repr main".split())
_SHELL_WORDS = frozenset(
    "rm rmdir mv cp ln mkdir cat ls cd run sx sc system load edit bash sh pip conda mamba uv script".split()
)
"""Words which IPython takes for a command where they begin a cell of one line."""
_SAFE_STAR = frozenset("math typing dataclasses collections itertools functools decimal fractions statistics".split())
_TEXT_METHODS = frozenset(
    "split rsplit partition rpartition strip lstrip rstrip replace startswith endswith count find index".split()
)

_MAGIC = re.compile(r"^[ \t]*(?:[\w, \t.\[\]'\"]+=[ \t]*)?(%%?|!!?)[ \t]*([\w./-]*)", re.MULTILINE)
_OUTSIDE = re.compile(r"^\s*(?:~|/[\w.~*]|[A-Za-z]:[\\/]|\\\\\w|file:)|(?:^|[\\/])\.\.(?:[\\/]|$)")
_URL = re.compile(r"^\s*(?:https?|ftps?|s3|gs|gcs|wss?|sftp|ssh|hf)://", re.IGNORECASE)
_INSTALL_WORDS = re.compile(r"\b(?:pip3?|conda|mamba|uv|apt|apt-get|npm|poetry)\b\W+(?:\w+\W+)?(?:install|add)\b")
MOST = 12
"""So many reasons are named; more would not be read."""


def risks(code: str, *, tools: Collection[str] = (), network: bool = True, workspace: str = "") -> tuple[Risk, ...]:
    """The reasons to ask before `code` runs; none where nothing speaks against it. Never raises.

    tools: names of host tools that are marked risky. network: whether the sandbox has any.
    workspace: absolute path of the sandbox's folder, where it is known.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in the model's text is not our warning
            found = list(_Reader(code, ast.parse(code), tools, workspace).all())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        found = [*_magics(code)] or [Risk("unclear", f"it can't be read as Python ({_said(error)})")]
    if any(risk.kind in ("other programs", "unclear") for risk in found) and (said := _INSTALL_WORDS.search(code)):
        found.append(Risk("installs", one_line(said[0], 40)))
    return tuple(dict.fromkeys(risk for risk in found if network or risk.kind != "network"))[:MOST]


def _said(error: BaseException) -> str:
    return one_line(str(error.args[0]) if error.args else type(error).__name__, 60)


def _magics(code: str) -> Iterator[Risk]:
    """Reasons in text that is no plain Python, as IPython would read it."""
    for mark, word in _MAGIC.findall(code):
        name = f"{mark}{word}"
        if word in _INSTALLS or word in ("mamba", "micromamba", "uv", "pip3"):
            yield Risk("installs", name)
        if mark.startswith("!") or word in ("bash", "sh", "script", "sx", "system", "perl", "ruby", "cmd"):
            yield Risk("other programs", name)
        elif word not in _INSTALLS:
            yield Risk("unclear", f"the magic {name}")


class _Reader:
    """Walks one tree."""

    def __init__(self, code: str, tree: ast.Module, tools: Collection[str], workspace: str) -> None:
        self._tree = tree
        self._tools = tools
        self._workspace = workspace.rstrip("/")
        self._is_one_line = len(code.strip().splitlines()) == 1
        self._names: dict[str, str] = {}
        """Name -> the module, or part of one, that an import of this code bound to it."""
        self._bases: set[int] = set()
        """Nodes that are what an attribute was taken of."""
        self._quiet: set[int] = set()
        """Constants that are no paths, wherever they begin."""

    def all(self) -> Iterator[Risk]:
        """Every reason, in the order in which it was found."""
        nodes = list(ast.walk(self._tree))
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from self._import(node)
            elif isinstance(node, ast.Attribute):
                self._bases.add(id(node.value))
            elif isinstance(node, ast.Call | ast.Compare | ast.JoinedStr):
                self._note_quiet(node)
        if self._is_one_line and (word := _first_word(self._tree)) in _SHELL_WORDS:
            yield Risk("unclear", f"IPython may take {word} for a command")
        for node in nodes:
            match node:
                case ast.Name():
                    yield from self._name(node)
                case ast.Attribute():
                    yield from self._attribute(node)
                case ast.Constant(value=str() as text) if id(node) not in self._quiet:
                    yield from self._text(text)
                case ast.Constant(value=bytes() as raw):
                    yield from self._text(raw.decode("latin-1"))
                case ast.Call():
                    yield from self._query(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[Risk]:
        module = getattr(node, "module", None) or ""
        if isinstance(node, ast.ImportFrom) and node.level:
            yield Risk("unclear", "a relative import")
        for alias in node.names:
            whole = f"{module}.{alias.name}" if module else alias.name
            if alias.name == "*":
                if module.partition(".")[0] not in _SAFE_STAR:
                    yield Risk("unclear", f"from {module} import *")
                continue
            bound = alias.asname or alias.name.partition(".")[0]
            self._names[bound] = whole if alias.asname or module else bound
            yield from self._dotted(whole)
            last = whole.rpartition(".")[2]
            if last in _MODULES and (bound != last or module):
                # A later action would use it under a name that says nothing.
                yield Risk("unclear", f"{last} under another name")

    def _name(self, node: ast.Name) -> Iterator[Risk]:
        if node.id in _BUILTINS:
            yield Risk("unclear", node.id)
        elif node.id in self._tools:
            yield Risk("risky tool", node.id)
        elif id(node) not in self._bases:
            whole = self._names.get(node.id, "")
            yield from self._dotted(whole)
            if isinstance(node.ctx, ast.Load) and (whole or node.id) in _WITH_POWER | _UNCLEAR | _PROGRAMS:
                yield Risk("unclear", f"{node.id} handed on")

    def _attribute(self, node: ast.Attribute) -> Iterator[Risk]:
        whole = self._chain(node)
        yield from self._dotted(whole)
        name = node.attr
        if name in _METHODS and not any(True for _ in self._dotted(whole)):
            yield Risk(_METHODS[name], f".{name}")
        elif name.startswith("__") and name.endswith("__") and name not in _PLAIN_DUNDERS:
            yield Risk("unclear", f".{name}")
        elif name in ("parent", "parents") and isinstance(node.value, ast.Call):
            yield Risk("outside the workspace", f".{name}")
        elif name in _MODULES and name in _WITH_POWER and id(node) not in self._bases:
            yield Risk("unclear", f"{name} handed on")

    def _chain(self, node: ast.expr) -> str:
        """`a.b.c` as text, with what imports say of `a`; it begins at the last module of note: `x.os.remove`."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            parts += reversed(self._names.get(node.id, node.id).split("."))
        parts.reverse()
        for at in range(len(parts) - 2, 0, -1):
            if parts[at] in ("os", "sys", "subprocess", "shutil", "socket", "builtins", "importlib"):
                return ".".join(parts[at:])
        return ".".join(parts)

    def _dotted(self, whole: str) -> Iterator[Risk]:
        """What the full name of a module, or of a part of one, means."""
        root, _, rest = whole.partition(".")
        first_two = ".".join(whole.split(".")[:2])
        if not root or first_two in _HARMLESS:
            return
        if root in _INSTALLS:
            yield Risk("installs", root)
        elif root in _PROGRAMS:
            yield Risk("other programs", root)
        elif root in _NETWORK and (rest or root != "urllib"):
            yield Risk("network", root)
        elif root in _UNCLEAR:
            yield Risk("unclear", root)
        elif first_two in _BY_NAME:
            yield Risk(_BY_NAME[first_two], first_two)
        elif re.match(r"os\.(exec|spawn|posix_spawn)", whole):
            yield Risk("other programs", first_two)

    def _note_quiet(self, node: ast.Call | ast.Compare | ast.JoinedStr) -> None:
        """Remember texts such as the `/` of `split("/")`, and pieces in the middle of an f-string."""
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                if node.func.attr in _TEXT_METHODS:
                    self._quiet.update(id(arg) for arg in node.args)
                elif node.func.attr == "join":
                    self._quiet.add(id(node.func.value))
        elif isinstance(node, ast.Compare):
            self._quiet.update(map(id, (node.left, *node.comparators)))
        else:
            self._quiet.update(
                id(part) for part in node.values[1:] if isinstance(part, ast.Constant) and ".." not in str(part.value)
            )

    def _text(self, text: str) -> Iterator[Risk]:
        if _URL.match(text):
            yield Risk("network", one_line(text, 60))
        elif (text.strip() == "/" or _OUTSIDE.search(text)) and not self._is_inside(text):
            yield Risk("outside the workspace", one_line(text, 60))

    def _is_inside(self, text: str) -> bool:
        return bool(self._workspace) and f"{text}/".startswith(f"{self._workspace}/") and ".." not in text

    def _query(self, node: ast.Call) -> Iterator[Risk]:
        """pandas' `query` and `eval` run code that stands in their text."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in ("query", "eval") or not node.args:
            return
        text = node.args[0]
        is_plain = isinstance(text, ast.Constant) and isinstance(text.value, str)
        if not is_plain or re.search(r"@\w+\s*[.(\[]|__", str(text.value)):  # type: ignore[attr-defined]
            yield Risk("unclear", f".{node.func.attr} of text that is code")


def _first_word(tree: ast.Module) -> str:
    node: ast.AST = tree.body[0] if tree.body else tree
    if isinstance(node, ast.Expr):
        node = node.value
        while isinstance(node, ast.BinOp | ast.Compare | ast.BoolOp):
            node = node.values[0] if isinstance(node, ast.BoolOp) else node.left
    return node.id if isinstance(node, ast.Name) else ""
