"""The audit notebook as one page for a browser: no network, no script.

nbconvert makes the page of a template of our own (`page.html.j2`); its usual one loads MathJax and more from the web. A
policy in the page forbids the browser to load anything, and what a model or its code wrote goes through the same
cleaning as everything that leaves the sandbox, so that opening a report tells nobody that it was opened.
"""

from __future__ import annotations

from copy import copy
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..errors import ExportError, one_line
from ..sandbox.markup import clean_html

if TYPE_CHECKING:
    from nbformat import NotebookNode


_RUNNING = ("again", "preamble", "anew")


def page(notebook: NotebookNode) -> str:
    """The page. Raises `ExportError` where nbconvert is missing."""
    try:
        from nbconvert.exporters.html import HTMLExporter
        from traitlets.config import Config
    except ImportError as error:
        raise ExportError("A page needs nbconvert: pip install 'cellwright[html]'.") from error
    template = files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    settings: Any = Config()
    settings.CSSHTMLHeaderPreprocessor.enabled = False  # its colours are JupyterLab's variables
    maker: Any = HTMLExporter
    exporter = maker(config=settings, raw_template=template, sanitize_html=True, exclude_anchor_links=True)
    exporter.register_filter("clean_html", _cleaned)
    resources = {
        "metadata": {"name": _title(notebook)},
        "light": _colours("friendly"),
        "dark": _colours("github-dark"),
    }
    body: str = exporter.from_notebook_node(_for_readers(notebook), resources)[0]
    return body.rstrip() + "\n"


def _for_readers(notebook: NotebookNode) -> NotebookNode:
    """Without what is of use in a notebook only: a page holds no record, and nothing in it runs."""
    made = copy(notebook)
    made.cells = [cell for cell in notebook.cells if cell.metadata.cellwright.role not in _RUNNING]
    return made


def _colours(style: str) -> str:
    from pygments.formatters.html import HtmlFormatter

    formatter: Any = HtmlFormatter(style=style)
    return str(formatter.get_style_defs(".highlight"))


def _title(notebook: NotebookNode) -> str:
    runs = notebook.metadata.cellwright.runs
    return one_line(next((run.started.task for run in runs if run.started.author == "agent"), "Audit notebook"), 100)


def _cleaned(html: object) -> str:
    text = html.decode(errors="replace") if isinstance(html, bytes) else str(html)
    try:
        return clean_html(text)
    except ValueError:  # so much of it that a parser would be busy for long
        return f"<pre>{escape(text)}</pre>"
