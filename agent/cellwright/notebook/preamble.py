"""The audit notebook's first code cell: what its cells need to run again. Read as text, never imported.

Only what stands between the marks is written into a notebook, and of the parts only those that it needs. It runs under
any IPython kernel and must behave as the sandbox's bootstrap cell does. TOOLS, CALLS, TYPED and ANSWERS are filled in.
"""

# ruff: noqa: E402, F811, F821, I001 - it is a cell, and `get_ipython` and `display` are IPython's builtins

# ==== base
# What the cells below need to run again: final_answer, and stand-ins for what was at hand when they first ran.
import sys as _sys


class _Answered(BaseException):
    """Ends a cell at final_answer; not an Exception, so that `except Exception` lets it pass."""


def final_answer(answer=None):
    """Show the answer to the task and end the cell."""
    get_ipython().user_ns["_answer"] = answer
    display(answer)
    raise _Answered


def _end_quietly(result):
    if result is not None and isinstance(result.error_in_exec, _Answered):
        result.error_in_exec = None


def _stay(*_, **__):
    print("The sandbox stays. Call final_answer(value) to end the task.", file=_sys.stderr)


get_ipython().set_custom_exc((_Answered,), lambda *_, **__: [])  # no traceback ...
get_ipython().events.register("post_run_cell", _end_quietly)  # ... and no error: the next cell runs
get_ipython().ask_exit = _stay  # exit() and quit() do not end the kernel
# ==== record


# What follows answers from the record of what happened then.
import json as _json
# ==== tools


# Tools ran in another process and are not run again: each call is answered with what it returned then.
class _ToolCallError(RuntimeError):
    """The tool failed when the call was recorded, or there is no record of the call."""


_tools = _json.loads(r"""TOOLS""")
_calls = _json.loads(r"""CALLS""")


def _stand_in(name, about):
    def as_recorded(value):
        # Numbers and arrays of numpy were sent as plain ones.
        return _json.dumps(value, sort_keys=True, default=lambda array: array.tolist())

    def tool(*args, **kwargs):
        wanted = as_recorded([args, kwargs])
        for index, call in enumerate(_calls):
            if call["name"] == name and as_recorded([call["args"], call["kwargs"]]) == wanted:
                del _calls[index]
                if "shown" in call:  # the model called it by itself, so that an error ended no code
                    print(call["shown"], end="", file=_sys.stderr if call["error"] else _sys.stdout)
                    return call["result"]
                if call["error"] is not None:
                    raise _ToolCallError(call["error"])
                return call["result"]
        said = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
        raise _ToolCallError(
            f"There is no record, or no further one, of the call {name}({said}). Tools are not run again; "
            "run this notebook from its top, and leave the arguments of tools as they were."
        )

    tool.__name__ = tool.__qualname__ = name
    tool.__doc__ = about
    return tool


for _name, _about in _tools.items():
    globals()[_name] = _stand_in(_name, _about)
_ToolCallError.__name__ = "ToolCallError"
# ==== typed


# What a person typed is not asked for again: input() and getpass() answer with the lines that were typed then.
class _NotOnRecord(RuntimeError):
    """A line that was hidden when it was typed, or that nobody typed."""


_typed = _json.loads(r"""TYPED""")


def _type(prompt="", *_, **__):
    def plain(text):
        return "".join(filter(str.isprintable, str(text)))

    if not _typed or plain(_typed[0][0]) != plain(prompt):
        raise _NotOnRecord(f"There is no record, or no further one, of what was typed at {prompt!r}.")
    line = _typed.pop(0)[1]
    if line is None:
        raise _NotOnRecord(f"What was typed at {prompt!r} was hidden, so it is on no record.")
    return line


input = _type
if hasattr(get_ipython(), "kernel"):
    # A kernel makes input() and getpass() of these anew for every cell.
    get_ipython().kernel.raw_input = get_ipython().kernel.getpass = _type
# ==== answers


# An agent that calls functions runs no code: the host showed its answer, and in another way than Python does.
_answers = _json.loads(r"""ANSWERS""")
_show_as_python = display


def _show(answer):
    for value, data in _answers:
        if value == answer:
            return _show_as_python(data, raw=True)
    return _show_as_python(answer)


def final_answer(answer=None):
    """Show the answer to the task and end the cell."""
    get_ipython().user_ns["_answer"] = answer
    _show(answer)
    raise _Answered


# ==== tables


def _table(text):
    """The DataFrame that was put into the sandbox; `text` is an Arrow IPC stream, base64 encoded."""
    import base64

    import pyarrow as pa

    with pa.ipc.open_stream(base64.b64decode(text)) as reader:
        return reader.read_pandas()


# ==== anew


_kept = dict(globals())


def _begin_anew():
    """Forget all variables: here the process that ran the code was replaced by a new one."""
    for name in set(globals()) - set(_kept) - {"_kept", "_begin_anew"}:
        del globals()[name]
    globals().update(_kept)


# ==== end
