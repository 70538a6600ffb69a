"""A tool's own source: what its function or class says, and the imports that it takes from its module.

Only what can be imported comes along; a constant, a helper or a variable around it is named, so that its author can
move it inside.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import functools
import importlib.util
import inspect
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from .. import tools
from .files import SharingError


def source_of(subject: type | Callable[..., Any], name: str) -> tuple[str, str]:
    """The text of `tool.py` for a function or a class, and the name that it has there. Raises `SharingError`."""
    node, text = _definition(subject, name)
    around = _around(subject)
    text = _without_tool_decorator(node, text, around)
    missing = [free for free in free_names(text) if not _import_of(free, around)]
    if missing:
        raise SharingError(
            f"Tool {name} uses {', '.join(missing)} of its module, which would be missing in its file: "
            "import or define it inside the tool."
        )
    imports = sorted({_import_of(free, around) for free in free_names(text)})
    if _defers_hints(subject):
        imports.insert(0, "from __future__ import annotations\n")
    head = "\n".join(imports)
    return f"{head}\n\n\n{text}\n" if head else f"{text}\n", node.name


def requirements(text: str, name: str) -> dict[str, str]:
    """Packages that the source imports -> their versions here. Raises `SharingError` for a file of one's own."""
    found: dict[str, str] = {}
    for module in sorted(_imported(ast.parse(text)) - sys.stdlib_module_names - {"cellwright"}):
        if importlib.util.find_spec(module) is None:
            continue  # optional: it is not here, and the tool was made all the same
        package = next(iter(_packages().get(module, ())), module)
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            raise SharingError(f"Tool {name} imports {module}, which is no installed package.") from None
    return found


def free_names(text: str) -> list[str]:
    """Names that the source uses and does not define, sorted."""
    table = symtable.symtable(text, "tool.py", "exec")
    defined = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return sorted(set(_used(table)) - defined - set(dir(builtins)) - {"__name__", "__file__", "__doc__"})


def _used(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _used(inner)


def _definition(subject: type | Callable[..., Any], name: str) -> tuple[ast.FunctionDef, str]:
    if not isinstance(subject, type | FunctionType):
        kind = type(subject).__name__
        raise SharingError(f"Tool {name} is made of a {kind}, which has no source of its own: write a function.")
    try:
        text = textwrap.dedent(inspect.getsource(inspect.unwrap(subject)))
        node: Any = ast.parse(text).body[0]
    except (OSError, TypeError, IndexError):
        raise SharingError(f"The source of tool {name} can't be found: define it in a file or in a cell.") from None
    except SyntaxError:
        node = None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        raise SharingError(f"Tool {name} has no source of its own: write a function with def, at the left margin.")
    return node, text  # type: ignore[return-value] # the three have the same fields here


def _around(subject: Any) -> Mapping[str, Any]:
    """What the names in the source mean where it stands."""
    functions = [item for item in vars(subject).values() if isinstance(item, FunctionType)] if isinstance(
        subject, type
    ) else [inspect.unwrap(subject)]  # fmt: skip
    module = sys.modules.get(subject.__module__)
    found: dict[str, Any] = dict(vars(module)) if module else {}
    for function in functions:
        found |= function.__globals__
    for function in functions:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                found[name] = cell.cell_contents
            except ValueError:
                continue  # not yet filled: it means nothing
    if isinstance(subject, type):  # bases and decorators may be local names; their values are known all the same
        found |= {base.__name__: base for base in subject.__bases__}
    return found


def _without_tool_decorator(node: ast.FunctionDef, text: str, around: Mapping[str, Any]) -> str:
    """The source without `@tool`: the card says what that said."""
    lines = text.splitlines()
    for decorator in reversed(node.decorator_list):
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        named = ast.unparse(called).split(".")
        value = around.get(named[0], tools.tool if named == ["tool"] else None)
        for attribute in named[1:]:
            value = getattr(value, attribute, None)
        if value is tools.tool:
            del lines[decorator.lineno - 1 : decorator.end_lineno]
    return "\n".join(lines).strip("\n")


def _import_of(name: str, around: Mapping[str, Any]) -> str:
    """The statement that imports what `name` means; empty where there is none."""
    value = around.get(name)
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" + ("" if name == value.__name__ else f" as {name}")
    module, called = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(called, str) or module == "__main__":
        return ""
    if getattr(sys.modules.get(module), called, None) is not value or not _is_installed(module):
        return ""
    return f"from {module} import {called}" + ("" if name == called else f" as {name}")


def _is_installed(module: str) -> bool:
    """False for a file of one's own, which nobody else has."""
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names or top == "cellwright" or top in _packages()


def _packages() -> Mapping[str, list[str]]:
    """Module -> the packages that bring it."""
    # Reading them takes half a second; a package that is installed meanwhile changes the time of its folder.
    folders = (Path(entry) for entry in sys.path if entry)
    return _packages_of(tuple((str(path), path.stat().st_mtime_ns) for path in folders if path.is_dir()))


@functools.lru_cache(maxsize=1)
def _packages_of(folders: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _defers_hints(subject: Any) -> bool:
    functions = vars(subject).values() if isinstance(subject, type) else [inspect.unwrap(subject)]
    flag = __future__.annotations.compiler_flag
    return any(isinstance(item, FunctionType) and item.__code__.co_flags & flag for item in functions)


def _imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - {"__future__"}
