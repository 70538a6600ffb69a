"""Tools and agents as folders of plain files: saved, loaded again, pushed to and pulled from the Hub.

    save_tool(convert, "convert")            tool.py, tool.json
    save_agent(agent, "helper")              agent.json, tools/NAME/..., agents/NAME/...
    agent = load_agent("helper", trust=True)

Nothing is pickled, and nothing of another's is run before somebody said `trust=True`: without it, loading says what
would run. A folder is read into memory once; what is shown, and what is run, are the same bytes.
"""

from .agents import load_agent, save_agent
from .files import NotTrusted, SharingError
from .hub import pull, push
from .tools import load_tool, save_tool

__all__ = ["NotTrusted", "SharingError", "load_agent", "load_tool", "pull", "push", "save_agent", "save_tool"]
