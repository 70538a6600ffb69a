"""papermill's parameters for notebooks of the Cellwright kernel: `papermill in.ipynb out.ipynb -p species Adelie`.

papermill writes parameters as a cell in the kernel's language, by a translator registered for the kernel's name. Here
that cell is `%%py`: it sets the names in the sandbox, where `{species}` in a task finds them, and code, too.

papermill has entry points for engines but none for translators (papermill/engines.py, papermill/translators.py). So
this module is found as an engine, `cellwright`, which is papermill's own. Only papermill imports it; what the import
does is the registration that papermill wants of a plug-in.
"""

from __future__ import annotations

from collections.abc import Mapping

from papermill.engines import NBClientEngine
from papermill.translators import PythonTranslator, papermill_translators

__all__ = ["NBClientEngine", "SandboxTranslator"]


class SandboxTranslator(PythonTranslator):  # type: ignore[misc]  # papermill has no types
    """Parameters as Python that runs in the sandbox."""

    @classmethod
    def codify(cls, parameters: Mapping[str, object], comment: str = "Parameters") -> str:
        """The source of the cell that sets `parameters`."""
        return f"%%py\n{super().codify(parameters, comment)}"


papermill_translators.register("cellwright", SandboxTranslator)
