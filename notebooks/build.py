"""Run the notebooks of this folder anew with the embedded model; their outputs are kept as they come.

python notebooks/build.py            all, into this folder
python notebooks/build.py mcp        one of them
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).parent


class Prose(str):
    """A cell that is read, not run."""

    __slots__ = ()


TOUR = [
    Prose("""# A tour of the Cellwright kernel

Every cell is a task in plain language; the agent answers with Python that runs in a sandbox kernel. The table is the
real one of the package `palmerpenguins`; the answers are those of the embedded model (Qwen2.5-Coder-1.5B), as they
came."""),
    "%agent model embedded",
    Prose("`%%py` runs Python by hand, in the sandbox. Here it writes the table to a file."),
    "%%py\nfrom palmerpenguins import load_penguins\n\npenguins = load_penguins()\n"
    "penguins.to_csv('penguins.csv', index=False)\npenguins.head()",
    Prose("From here on the agent works."),
    "Which species has the longest flippers on average? Plot it. Use penguins.csv.",
    Prose(
        "A task may go on where the last one ended. With `--new` the agent is told nothing of that; the variables stay."
    ),
    "%%agent --new\nWhat is the mean body_mass_g in penguins.csv? Round it to one decimal.",
    "%%agent --new\nHow many rows of penguins.csv have the species Gentoo?",
    Prose(
        "The sandbox's variables, the runs until now, and the audit notebook, which runs again under plain `python3`."
    ),
    "%agent vars",
    "%agent runs --limit 3",
    "%agent export tour-audit.ipynb",
]
MAGIC = [
    Prose("""# `%%agent` in any notebook

A Python notebook as always; one cell hands a task to the agent. `--in` copies variables into its sandbox, `--out`
brings the answer back. The answers are those of the embedded model, as they came."""),
    "%load_ext cellwright\nfrom palmerpenguins import load_penguins\n\ndf = load_penguins()\ndf.head()",
    "%%agent --model embedded --in df --out result\n"
    "Which species has the longest flippers on average? Plot it. The data is in df.",
    "result",
    "%%agent --model embedded --new --out mass\nWhat is the mean body_mass_g in df? Round it to one decimal.",
    "mass",
    "%agent steps",
]


MCP = [
    Prose("""# Tools of two MCP servers

Two servers from PyPI, a database (DuckDB) and a clock, become Python functions that the agent's code calls. Both run on
this machine and need no network, nor does the model. To run this notebook:
`pip install "cellwright[embedded,mcp]" mcp-server-motherduck mcp-server-time`. The answers are those of the embedded
model (Qwen2.5-Coder-1.5B), as they came."""),
    "%agent model embedded",
    Prose("A server is added with a name and the command that starts it."),
    "%agent mcp add ducks -- mcp-server-motherduck --db-path :memory: --read-write",
    "%agent mcp add clock -- mcp-server-time --local-timezone UTC",
    "%agent tools",
    Prose("Tools can be called by hand, too. Here one puts some of the strongest earthquakes into the database."),
    '''%%py
print(execute_query("""
CREATE TABLE quakes AS SELECT * FROM (VALUES
    ('Valdivia', 9.5, TIMESTAMP '1960-05-22 19:11'),
    ('Alaska', 9.2, TIMESTAMP '1964-03-28 03:36'),
    ('Sumatra', 9.1, TIMESTAMP '2004-12-26 00:58'),
    ('Tohoku', 9.1, TIMESTAMP '2011-03-11 05:46'),
    ('Kamchatka', 9.0, TIMESTAMP '1952-11-04 16:58'),
    ('Maule', 8.8, TIMESTAMP '2010-02-27 06:34')
) AS quakes(place, magnitude, began_utc)
"""))''',
    Prose("From here on the agent works. A small model is surer of itself when it is told which tool to use."),
    "Use execute_query: How many rows of the table quakes have a magnitude above 9?",
    "%%agent --new\nUse execute_query: What is began_utc of the place Tohoku in the table quakes?",
    Prose("A new sandbox, without the variables that the tasks left; the servers stay. Now the clock."),
    "%agent reset",
    "Use convert_time: The quake began at 05:46 UTC. What time was it in Asia/Tokyo?",
    "%agent runs --limit 3",
]


def build(name: str, kernel: str, sources: list[str]) -> None:
    """Run the cells and write the notebook."""
    notebook = new_notebook()
    notebook.cells = [
        (new_markdown_cell if isinstance(text, Prose) else new_code_cell)(str(text), id=f"{name}-{i}")
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
    for chosen in sys.argv[1:] or ["tour", "magic", "mcp"]:
        build(chosen, *{"tour": ("cellwright", TOUR), "magic": ("python3", MAGIC), "mcp": ("cellwright", MCP)}[chosen])
