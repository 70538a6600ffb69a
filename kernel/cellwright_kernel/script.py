"""`jupyter nbconvert --to script` for notebooks of the Cellwright kernel: the Python that was executed.

The kernel names this exporter in its `language_info`, so nbconvert's own script exporter hands such notebooks over
(nbconvert/exporters/script.py). Tasks become comments, and below each stands the code that the agent ran for it; cells
that a person ran by hand are code, too. A step that raised is kept, since what it did before it raised may be needed:
its error is printed, and the script goes on, as the agent did. IPython's own lines (`!ls`, `%time`) become calls of
`get_ipython()`, as nbconvert writes them for any Python notebook.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from nbconvert.exporters import Exporter
from nbconvert.filters import ipython2python

from cellwright.outputs import Json
from cellwright_extension.executed import executed_in

from .cells import read

_HEAD = "#!/usr/bin/env python\n# coding: utf-8"
_STAND_INS = {
    "final_answer(": '''
def final_answer(answer=None):
    """Show the answer. In the notebook this ended the task."""
    print(answer)''',
    "@tool": '''
def tool(function):
    """Leave the function as it is. In the notebook this lets the agent call it."""
    return function''',
}
"""What code uses of the kernel -> what stands for it in a script, which needs no Cellwright."""


class ScriptExporter(Exporter):
    """An agent notebook as a Python script."""

    file_extension = ".py"
    output_mimetype = "text/x-python"

    def from_notebook_node(  # type: ignore[override]  # text, as nbconvert's own exporters return it
        self, nb: Any, resources: Any = None, **kw: Any
    ) -> tuple[str, Any]:
        """The script, and nbconvert's resources."""
        copied, resources = super().from_notebook_node(nb, resources, **kw)
        return script(copied), resources


def script(notebook: Mapping[str, Json]) -> str:
    """The Python that was executed in a notebook of the Cellwright kernel."""
    parts = [part for cell in notebook["cells"] for part in _cell(cell)]
    stand_ins = [code for used, code in _STAND_INS.items() if any(used in part for part in parts)]
    return "\n\n".join([_HEAD, *stand_ins, *parts]).rstrip() + "\n"


def _cell(cell: Mapping[str, Json]) -> Iterator[str]:
    source = "".join(cell["source"])  # a list of lines in a file, text in nbformat's objects
    if cell["cell_type"] == "markdown":
        yield _comment(source)
    if cell["cell_type"] != "code":
        return
    meant = read(source)
    number = f"In[{cell.get('execution_count') or ' '}]"
    if meant.kind == "python":
        yield f"# {number}: %%py\n\n{_plain(meant.text)}"
    elif meant.kind == "ipython":
        yield f"# {number}\n\n{_plain(meant.text)}"
    elif meant.kind == "tools":
        yield f"# {number}: %%tool\n\n{_plain(meant.text)}"
    elif meant.kind != "empty":
        yield f"# {number}\n{_comment(source.strip())}"
        yield from _steps(cell, is_task=meant.kind == "task")


def _steps(cell: Mapping[str, Json], *, is_task: bool) -> Iterator[str]:
    steps = executed_in(cell)
    if steps is None and is_task:
        why = "its output was cleared, or it did not end" if cell.get("execution_count") else "it was not run"
        yield f"# The code of this task is not in the notebook: {why}."
    for step in steps or ():
        code = _without_rest(_plain(step.code))
        yield code if step.is_ok else _tried(code)


def _plain(code: str) -> str:
    """Python that a script can hold, for code as IPython takes it."""
    changed = str(ipython2python(code)).strip("\n")  # type: ignore[no-untyped-call]
    try:
        compile(changed, "cell", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):  # `await` outside a function, or code that never ran for that reason
        return f"get_ipython().run_cell({code!r})"
    return changed


def _without_rest(code: str) -> str:
    """`code` up to the answer, which ended it; what follows was never run, and becomes a comment."""
    for node in ast.parse(code).body:
        match node:
            case ast.Expr(ast.Call(ast.Name("final_answer"))) if node.end_lineno:
                lines = code.split("\n")
                done, rest = lines[: node.end_lineno], "\n".join(lines[node.end_lineno :]).strip("\n")
                return "\n".join([*done, *([_comment(rest)] if rest else [])])
    return code


def _tried(code: str) -> str:
    """`code` in a `try`, its error printed. Lines inside a text of several lines stay as they are."""
    inside = {
        number
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno
        for number in range(node.lineno + 1, node.end_lineno + 1)
    }
    lines = [
        line if number in inside or not line else f"    {line}" for number, line in enumerate(code.split("\n"), start=1)
    ]
    body = "\n".join(lines)
    return f"try:\n{body}\nexcept Exception as error:\n    print(f'{{type(error).__name__}}: {{error}}')"


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.splitlines())
