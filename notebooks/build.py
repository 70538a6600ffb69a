"""Run the notebooks of this folder anew with the embedded model; their outputs are kept as they come.

python notebooks/build.py            both, into this folder
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).parent

TOUR = [
    """# A tour of the Cellwright kernel

Every cell is a task in plain language; the agent answers with Python that runs in a sandbox kernel. The table is the
real one of the package `palmerpenguins`; the answers are those of the embedded model (Qwen2.5-Coder-1.5B), as they
came.""",
    "%agent model embedded",
    "`%%py` runs Python by hand, in the sandbox. Here it writes the table to a file.",
    "%%py\nfrom palmerpenguins import load_penguins\n\npenguins = load_penguins()\n"
    "penguins.to_csv('penguins.csv', index=False)\npenguins.head()",
    "From here on the agent works.",
    "Which species has the longest flippers on average? Plot it. Use penguins.csv.",
    "A task may go on where the last one ended. With `--new` the agent is told nothing of that; the variables stay.",
    "%%agent --new\nWhat is the mean body_mass_g in penguins.csv? Round it to one decimal.",
    "%%agent --new\nHow many rows of penguins.csv have the species Gentoo?",
    "The sandbox's variables, the runs until now, and the audit notebook, which runs again under plain `python3`.",
    "%agent vars",
    "%agent runs --limit 3",
    "%agent export tour-audit.ipynb",
]
MAGIC = [
    """# `%%agent` in any notebook

A Python notebook as always; one cell hands a task to the agent. `--in` copies variables into its sandbox, `--out`
brings the answer back. The answers are those of the embedded model, as they came.""",
    "%load_ext cellwright\nfrom palmerpenguins import load_penguins\n\ndf = load_penguins()\ndf.head()",
    "%%agent --model embedded --in df --out result\n"
    "Which species has the longest flippers on average? Plot it. The data is in df.",
    "result",
    "%%agent --model embedded --new --out mass\nWhat is the mean body_mass_g in df? Round it to one decimal.",
    "mass",
    "%agent steps",
]


def build(name: str, kernel: str, sources: list[str]) -> None:
    """Run the cells and write the notebook; prose is what does not run."""
    notebook = new_notebook()
    prose = {
        0,
        *(
            i
            for i, text in enumerate(sources)
            if text.startswith(("`%%py` runs", "From here", "The sandbox's", "A task may"))
        ),
    }
    notebook.cells = [
        new_markdown_cell(text, id=f"{name}-{i}") if i in prose else new_code_cell(text, id=f"{name}-{i}")
        for i, text in enumerate(sources)
    ]
    notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel.title()}
    client = NotebookClient(
        notebook, kernel_name=kernel, timeout=600, store_widget_state=False, resources={"metadata": {"path": str(HERE)}}
    )
    client.execute()
    nbformat.write(notebook, HERE / f"{name}.ipynb")
    print(f"{name}.ipynb is written.")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ["tour", "magic"]:
        build(chosen, *{"tour": ("cellwright", TOUR), "magic": ("python3", MAGIC)}[chosen])
