"""Sent to a stock IPython kernel as its first cell, so that nothing of ours need be installed there. Never imported.

It gives the sandbox `final_answer`, the stand-ins of the host's tools, and one service object, reached by the host as
`get_ipython()._cellwright`. Calls to the host travel as `input_request` messages (Jupyter messaging, "stdin"), the one
way that works with every stock ipykernel and every transport. What the host gets back is data; it evaluates nothing.

Longer than other files, because it is one closure: nothing of it stands among the names of whoever works there.
"""


def _cellwright_boot(mark, output_bytes=1 << 20):
    import base64
    import contextlib
    import csv
    import importlib.abc
    import importlib.util
    import io
    import itertools
    import json
    import math
    import os
    import signal
    import sys
    import threading
    import time
    import types

    NO_DATA = set(".ipynb .py .pyc .sh .toml .cfg .lock .sqlite .sqlite-wal .sqlite-shm .db .so .o .log".split())  # noqa: N806
    shell = get_ipython()  # noqa: F821 - this is a cell
    kernel = shell.kernel
    lock = threading.RLock()
    ask_host = kernel.raw_input
    MESSAGE = 7 << 20  # noqa: N806 - characters; at a few more bytes the host drops the connection
    REPLY = 30 << 20  # noqa: N806 - the same for a value that is asked for
    DISPLAYS = 5_000  # noqa: N806 - of one cell
    PIECE = 1 << 16  # noqa: N806 - characters of one message of printed text
    stock_input_request = kernel._input_request

    class ToolCallError(RuntimeError):
        """A tool of the host failed, or was called with arguments that don't fit."""

    class Answered(BaseException):
        """Ends the cell at `final_answer`; not an Exception, so that `except Exception` lets it pass."""

        def _render_traceback_(self):
            """Nothing: IPython would write one into its history, at 70 ms for the first."""
            return []

    class Packet:
        """A value on its way to the host through `user_expressions`."""

        def __init__(self, value):
            self.value = value

        def _repr_mimebundle_(self, include=None, exclude=None):
            return {"application/json": self.value, "text/plain": "packet"}

    # ---- calls to the host --------------------------------------------------------------------------------------

    def call(request):
        __tracebackhide__ = True  # our frames say nothing to whoever reads the traceback
        encoded = json.dumps(request)
        if len(json.dumps(encoded)) > MESSAGE:  # as it is sent
            raise ToolCallError(f"the call is {len(encoded) >> 20} MB; at most {MESSAGE >> 20} MB can cross")
        if "call" in request and threading.current_thread() is not threading.main_thread():
            return call_beside(request)
        return value_of(ask(encoded))

    def call_beside(request):
        """Threads call at the same time: a call is begun, and its thread comes back for what it returned."""
        __tracebackhide__ = True
        ticket = value_of(ask(json.dumps({"begin": request})))
        while (ended := value_of(ask(json.dumps({"ended": ticket})))) is None:
            time.sleep(0.02)
        return value_of(ended)

    def ask(encoded):
        # One at a time: stdin has one reply socket, and threads would steal each other's replies.
        with lock:
            return json.loads(ask_host(mark + encoded))

    def value_of(reply):
        __tracebackhide__ = True
        if "error" in reply:
            raise ToolCallError(reply["error"])
        return reply["value"]

    def plain(value, where="the value", depth=100):
        """`value` as JSON data, exactly; raises TypeError where that would change it."""
        __tracebackhide__ = True
        if not depth:
            raise TypeError(f"{where} has more than 100 levels of lists and dicts in each other")
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise TypeError(f"{where} is {value}, which JSON can't hold")
            return float(value)
        if isinstance(value, (list, tuple)):
            return [plain(item, where, depth - 1) for item in value]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: plain(item, where, depth - 1) for key, item in value.items()}
        if type(value).__module__ == "numpy" and hasattr(value, "tolist") and getattr(value, "size", 0) <= 100_000:
            listed = value.tolist()
            if listed is not value:
                return plain(listed, where, depth - 1)
        raise TypeError(f"{where} must be plain data (text, number, list, dict), not {type(value).__name__}")

    def make_tool(facts):
        name = facts["name"]

        def tool(*args, **kwargs):
            __tracebackhide__ = True
            sent = [plain(arg, f"argument {i} of {name}") for i, arg in enumerate(args, 1)]
            named = {key: plain(arg, f"argument {key} of {name}") for key, arg in kwargs.items()}
            return call({"call": name, "args": sent, "kwargs": named})

        tool.__name__ = tool.__qualname__ = name
        tool.__doc__ = facts["signature"] + "\n\n" + facts["description"]
        return tool

    def final_answer(answer=None):
        """Give the answer to the task. Ends the cell."""
        __tracebackhide__ = True
        shell.user_ns["_answer"] = answer
        data, metadata = shell.display_formatter.format(answer)
        data = {mime: base64.b64encode(d).decode() if isinstance(d, bytes) else d for mime, d in data.items()}
        request = {"answer": {"data": data, "metadata": metadata, "type_name": type(answer).__name__}}
        with contextlib.suppress(TypeError, RecursionError):  # no JSON form: it stays in the sandbox as _answer
            request["answer"]["value"] = plain(answer)
        encoded = ""
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            encoded = json.dumps(request)
        if not encoded or len(json.dumps(encoded)) > MESSAGE:  # it stays in the sandbox, and its beginning is shown
            text = shortened(str(data.get("text/plain", "")))
            encoded = json.dumps({"answer": {"data": {"text/plain": text}, "type_name": type(answer).__name__}})
        with lock:
            ask_host(mark + encoded)
        raise Answered

    # ---- what is shown is bounded ---------------------------------------------------------------------------------

    # The host bounds it, too, for code that undoes this. Here it costs the least, and nothing gets lost on the way.
    room = {}
    flush_at_once = []

    def begin_cell(info=None):
        room.update(text=output_bytes, drawn=16 * output_bytes, dropped=0, displays=DISPLAYS)
        shell.user_ns["final_answer"] = final_answer  # code that took the name for itself could never answer again

    begin_cell()
    shell.events.register("pre_run_cell", begin_cell)

    def shortened(text, limit=output_bytes):
        return text if len(text) <= limit else f"{text[:limit]}… {len(text) - limit:,} more characters"

    def bound(stream):
        write = type(stream).write.__get__(stream)  # not IPython's, which keeps all that is ever printed in memory
        flush, buffers = stream.flush, stream._flush_buffers
        flushes = {"left": 50.0, "last": time.monotonic()}

        def bounded_write(text):
            if not isinstance(text, str):
                return write(text)
            # A progress bar that is drawn anew replaces what was counted before.
            is_redrawn = text.startswith("\r") and "\n" not in text
            kept = text[: min(room["drawn"], PIECE if is_redrawn else room["text"])]
            room["drawn"] -= len(kept)
            room["text"] -= 0 if is_redrawn else len(kept)
            room["dropped"] += len(text) - len(kept)
            if kept:
                write(kept)
            return len(text)

        def paced_flush():
            # Each flush is a message; 20,000 flushed prints would lose some. IPython's own keep the order of things.
            now = time.monotonic()
            flushes["left"] = min(50.0, flushes["left"] + 20 * (now - flushes["last"]))
            flushes["last"] = now
            by = sys._getframe(1).f_globals.get("__name__", "")
            if flushes["left"] >= 1 or by.startswith(("ipykernel", "IPython", "ipywidgets")):
                flushes["left"] -= 1
                flush()

        def pieces():
            for parent, text in buffers():
                for start in range(0, len(text), PIECE):
                    yield parent, text[start : start + PIECE]

        stream.flush, stream._flush_buffers = paced_flush, pieces

        def begin_to_bound(info):
            stream.write = bounded_write  # here, because IPython puts its own back after the bootstrap cell

        shell.events.register("pre_run_cell", begin_to_bound)
        flush_at_once.append(flush)
        return write

    shell._tee = lambda channel: contextlib.nullcontext()
    bound(sys.stdout)
    write_stderr = bound(sys.stderr)

    def say_what_was_dropped(result):
        more = [f"{room['dropped']:,} more characters of output"] if room["dropped"] else []
        more += [f"{-room['displays']:,} more displays"] if room["displays"] < 0 else []
        if more:
            write_stderr(f"\n… {' and '.join(more)} were not kept.\n")
            room.update(dropped=0, displays=0)

    shell.events.register("post_run_cell", say_what_was_dropped)

    def length(value):
        if isinstance(value, dict):
            return sum(length(key) + length(item) for key, item in value.items())
        if isinstance(value, (list, tuple)):
            return sum(map(length, value)) + len(value)
        if isinstance(value, str) and not value.isascii():
            return len(value.encode("utf-8", "replace"))
        return len(value) if isinstance(value, (str, bytes)) else 8

    def fitting(key, value):
        if key == "data" and isinstance(value, dict):
            left_out = [mime for mime in value if mime != "text/plain"]
            more = f"\n(Too large to be shown: {', '.join(left_out)}.)" if left_out else ""
            return {"text/plain": shortened(str(value.get("text/plain", ""))) + more}
        if isinstance(value, str):
            return shortened(value)
        if isinstance(value, list):
            return [shortened(line, PIECE) for line in value[-100:] if isinstance(line, str)]
        return value if isinstance(value, (int, float)) else {}

    def bounded_content(content, limit):
        """A message that would cost the host its connection, without what is too large in it."""
        try:
            if length(content) <= limit:
                return content
        except RecursionError:
            pass  # what is so deep is refused by JSON in any case
        return {key: fitting(key, value) for key, value in content.items()}

    comms = ("comm_open", "comm_msg", "comm_close")

    def is_too_large(content, buffers):
        with contextlib.suppress(RecursionError):
            return length(content) + sum(memoryview(item).nbytes for item in buffers or ()) > MESSAGE
        return True

    stock_send = kernel.session.send
    shown = {"left": 500.0, "last": time.monotonic()}

    def is_one_too_many():
        """Count a display. Where many come, wait a little: what the host is too slow for would get lost on the way."""
        room["displays"] -= 1
        now = time.monotonic()
        shown["left"] = min(500.0, shown["left"] + 500 * (now - shown["last"])) - 1
        shown["last"] = now
        if room["displays"] >= 0 and shown["left"] < 0 and threading.current_thread() is threading.main_thread():
            time.sleep(0.002)
        return room["displays"] < 0

    def send(stream, msg_or_type, content=None, *args, **kwargs):
        is_whole = isinstance(msg_or_type, dict)
        kind = msg_or_type["header"]["msg_type"] if is_whole else msg_or_type
        if kind in ("display_data", "update_display_data", "clear_output") and is_one_too_many():
            return None
        if kind in comms and is_too_large(msg_or_type["content"] if is_whole else content, kwargs.get("buffers")):
            write_stderr(f"\nA widget's message of more than {MESSAGE >> 20} MB was not sent.\n")
            return None
        limit = REPLY if kind == "execute_reply" else MESSAGE
        if is_whole:
            msg_or_type = {**msg_or_type, "content": bounded_content(msg_or_type["content"], limit)}
        elif isinstance(content, dict):
            content = bounded_content(content, limit)
        return stock_send(stream, msg_or_type, content, *args, **kwargs)

    kernel.session.send = send

    # ---- progress bars are text -----------------------------------------------------------------------------------

    class TextBars(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        """`tqdm.notebook` draws with widgets, which don't leave the sandbox: whoever imports it gets the text bar."""

        def find_spec(self, name, path=None, target=None):
            return importlib.util.spec_from_loader(name, self) if name == "tqdm.notebook" else None

        def exec_module(self, module):
            from tqdm import std

            class tqdm_notebook(std.tqdm):  # noqa: N801 - its name there
                def __init__(self, *args, display=True, **kwargs):
                    super().__init__(*args, **kwargs)

            def trange(*args, **kwargs):
                return tqdm_notebook(range(*args), **kwargs)

            module.tqdm = module.tqdm_notebook = tqdm_notebook
            module.trange = module.tnrange = trange
            module.IProgress, module.WARN_NOIPYW = object, ""

    sys.meta_path.insert(0, TextBars())

    # ---- the cell ends at final_answer, and that is no error --------------------------------------------------------

    def quiet(shell, kind, value, traceback, tb_offset=None):
        return []

    shell.set_custom_exc((Answered,), quiet)

    def forget_answered(result):
        if result is not None and isinstance(result.error_in_exec, Answered):
            result.error_in_exec = None

    shell.events.register("post_run_cell", forget_answered)

    def stay(*_, **__):
        print("The sandbox stays. Call final_answer(value) to end the task.", file=sys.stderr)

    shell.ask_exit = stay

    # ---- an interrupt meets the cell, or nothing ------------------------------------------------------------------

    # ipykernel lets a signal raise wherever it comes: in its own loop, while a traceback is being written, in the
    # request after the one that was meant. A kernel hit there may never answer again (seen under load).
    under_way = []
    hooks = type(shell.events).trigger.__code__  # drawing the figures after a cell is its work, too

    def on_sigint(signum, frame):
        inner = frame
        while under_way and frame is not None:
            # In what a hook calls, not in the loop that calls them: only there somebody catches it.
            if frame.f_globals is shell.user_global_ns or (frame.f_code is hooks and frame is not inner):
                raise KeyboardInterrupt
            frame = frame.f_back

    shell.events.register("pre_run_cell", under_way.append)
    shell.events.register("post_run_cell", lambda result: under_way.clear())
    kernel.pre_handler_hook = lambda: signal.signal(signal.SIGINT, on_sigint)
    kernel.post_handler_hook = lambda: None

    # ---- what the page says to a widget ---------------------------------------------------------------------------

    def as_work(handle):
        def handle_as_work(stream, ident, message):
            if not under_way:
                begin_cell()
            under_way.append(message)  # an interrupt may meet what a widget calls
            try:
                return handle(stream, ident, message)
            finally:
                if under_way:
                    under_way.pop()
                for flush in flush_at_once:
                    flush()
                # ipykernel does not say so beside a cell that awaits something, and the page waits for it.
                stock_send(kernel.iopub_socket, "status", {"execution_state": "idle"}, parent=message)

        return handle_as_work

    for kind in comms:
        kernel.shell_handlers[kind] = as_work(kernel.shell_handlers[kind])

    # The person's input() goes the same way, so that a tool call from a thread can't take its reply.
    def input_request(prompt, ident, parent, password=False):
        if prompt.startswith(mark):
            return stock_input_request(prompt, ident, parent, password=password)
        return call({"input": prompt, "password": bool(password)})

    kernel._input_request = input_request

    # ---- what is at hand ----------------------------------------------------------------------------------------

    def names(items, limit=40):
        listed = [str(item) for item in items]
        more = f", … {len(listed) - limit} more" if len(listed) > limit else ""
        return ", ".join(listed[:limit]) + more

    absent = {"", "NA", "N/A", "NaN", "nan", "null", "None"}

    def words(values):
        """` (a, b)` for a column that holds the same few words again and again; models mistake their spelling."""
        distinct = dict.fromkeys(values)
        if not 0 < len(distinct) <= 6 or len(distinct) * 2 > len(values) or any(len(word) > 24 for word in distinct):
            return ""
        for word in distinct:
            with contextlib.suppress(ValueError):
                float(word)
                return ""
        return f" ({', '.join(distinct)})"

    def table(labels, held):
        """The names of columns; `held` are the words in each, told as far as they are short enough."""
        room, said = 200, []
        for label, told in zip(labels, held, strict=False):
            room -= len(told)
            said.append(f"{label}{told if room >= 0 else ''}")
        return names(said + [str(label) for label in labels[len(said) :]])

    def frame_words(frame):
        pandas = sys.modules.get("pandas")
        if pandas is None or type(frame) is not pandas.DataFrame:
            return  # a class of the model's own making may run anything when it is looked at
        for index, kind in enumerate(frame.dtypes.iloc[:20]):
            told = ""
            if str(kind) in ("object", "category", "str", "string"):
                values = frame.iloc[:1000, index].tolist()
                found = [value for value in values if type(value) is str]
                others = (value for value in values if type(value) is not str)
                if all(value is None or value is pandas.NA or type(value) is float for value in others):
                    told = words(found)
            yield told

    def summary(value):
        kind = type(value).__name__
        if kind == "DataFrame" and hasattr(value, "shape") and hasattr(value, "columns"):
            columns = table(list(value.columns), frame_words(value))
            return f"{value.shape[0]} rows x {value.shape[1]} columns: {columns}"
        if isinstance(value, (bool, int, float, complex, type(None))):
            return repr(value)
        if isinstance(value, str):
            return repr(value) if len(value) <= 60 else f"{len(value)} characters: {value[:50]!r}…"
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            return f"shape {tuple(value.shape)}, {value.dtype}"
        if isinstance(value, dict):
            return f"{len(value)} keys: {names(value, 10)}"
        if isinstance(value, (list, tuple, set, frozenset)):
            return f"{len(value)} items"
        if isinstance(value, types.FunctionType):
            return f"function {value.__name__}"
        return ""

    def own():
        """The variables of whoever works here."""
        hidden = shell.user_ns_hidden
        for name, value in list(shell.user_ns.items()):
            if name.startswith("_") or hidden.get(name, shell) is value or name in offered:
                continue
            if not isinstance(value, (types.ModuleType, type)):
                yield name, value

    def variables(limit=30):
        found = []
        for name, value in own():
            try:
                said = summary(value)
            except Exception:  # noqa: BLE001 - an object of the model's own making may raise anything
                said = ""
            found.append({"name": name, "type_name": type(value).__name__, "summary": said[:400]})
        return found[-limit:]

    # ---- small questions are answered while a cell runs, too: on control, in a thread of its own --------------------

    async def names_request(stream, ident, parent):
        found = [name for name, _ in own()][-2000:]
        kernel.session.send(stream, "names_reply", {"status": "ok", "names": found}, parent, ident=ident)

    async def complete_beside(stream, ident, parent):
        completing = importlib.import_module("IPython.core.completer")
        code, cursor = parent["content"]["code"], parent["content"]["cursor_pos"]
        # One of its own, since two threads would mix up what they ask for. Without jedi: beside a loop that leaves it
        # half a processor, its first answer takes longer than anybody waits. What is there is found without it.
        completer = completing.IPCompleter(shell, namespace=shell.user_ns, parent=shell)
        completer.use_jedi = False
        with completing.provisionalcompleter():
            found = list(completing.rectify_completions(code, completer.completions(code, cursor)))
        start, end = (found[0].start, found[0].end) if found else (cursor, cursor)
        content = {"status": "ok", "matches": [c.text for c in found], "cursor_start": start, "cursor_end": end}
        kernel.session.send(stream, "complete_reply", {**content, "metadata": {}}, parent, ident=ident)

    kernel.shell_handlers["names_request"] = kernel.control_handlers["names_request"] = names_request
    kernel.control_handlers["complete_request"] = complete_beside
    kernel.control_handlers["inspect_request"] = kernel.inspect_request

    looked_at = {}

    def columns(path, changed):
        """The columns of a text table; of one that has not changed since, as they were found before."""
        delimiter = {".csv": ",", ".tsv": "\t"}.get(os.path.splitext(path)[1].lower())
        if delimiter is None:
            return ""
        if looked_at.get(path, ("",))[0] != changed:
            with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
                text = file.read(1 << 17)
            rows = list(itertools.islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1001))
            head = [name[:60] for name in rows[0]] if rows else []
            # The last row may have been cut in the middle of a word.
            body = [row for row in rows[1:-1] if len(row) == len(head)]
            held = (words([cell for cell in column if cell not in absent]) for column in zip(*body, strict=True))
            looked_at[path] = changed, ("columns " + table(head, held))[:1000]
        return looked_at[path][1]

    def is_data(name):
        """False for what is no data to work on: programs, notebooks and databases only mislead a small model."""
        return os.path.splitext(name)[1].lower() not in NO_DATA

    def files(limit=20):
        found = []
        with os.scandir(".") as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.startswith(".") or not entry.is_file() or not is_data(entry.name):
                    continue
                try:
                    facts = entry.stat()
                    said = columns(entry.path, (facts.st_size, facts.st_mtime_ns))
                    found.append({"name": entry.name, "size": facts.st_size, "summary": said})
                except (OSError, csv.Error):
                    continue
                if len(found) == limit:
                    break
        return found

    # ---- values in and out --------------------------------------------------------------------------------------

    def arrow_of(table):
        try:
            import pyarrow as pa
        except ImportError:
            raise TypeError("a table needs pyarrow in the sandbox's environment (pip install pyarrow)") from None
        sink = pa.BufferOutputStream()
        arrow = pa.Table.from_pandas(table)
        with pa.ipc.new_stream(sink, arrow.schema) as writer:
            writer.write_table(arrow)
        return base64.b64encode(sink.getvalue()).decode()

    def table_from(data):
        try:
            import pyarrow as pa
        except ImportError:
            raise TypeError("a table needs pyarrow in the sandbox's environment (pip install pyarrow)") from None
        with pa.ipc.open_stream(data) as reader:
            return reader.read_pandas()

    offered = {"final_answer"}

    class Service:
        """What the host may ask for."""

        def offer(self, tools):
            for facts in tools:
                offered.add(facts["name"])
                shell.user_ns[facts["name"]] = make_tool(facts)
            shell.user_ns["final_answer"] = final_answer
            shell.user_ns.setdefault("_out", {})
            return Packet(None)

        def at_hand(self):
            return Packet({"variables": variables(), "files": files()})

        def facts(self):
            import platform
            from importlib.metadata import PackageNotFoundError, version

            packages = {}
            for name in ("ipython", "ipykernel", "numpy", "pandas", "matplotlib", "scipy", "scikit-learn", "pyarrow"):
                with contextlib.suppress(PackageNotFoundError):
                    packages[name] = version(name)
            return Packet(
                {
                    "python": platform.python_version(),
                    "workspace": os.getcwd(),
                    "packages": packages,
                }
            )

        def put(self, name, form):
            data = bytes(kernel.get_parent("shell")["buffers"][0])
            shell.user_ns[name] = table_from(data) if form == "table" else json.loads(data)
            return Packet(None)

        def get(self, name):
            if name not in shell.user_ns:
                raise NameError(f"the sandbox has no variable {name!r}")
            value = shell.user_ns[name]
            form = "table" if type(value).__name__ == "DataFrame" else "json"
            found = arrow_of(value) if form == "table" else plain(value, name)
            if (size := length(found)) > MESSAGE - PIECE:
                raise ValueError(
                    f"{name} is {size >> 20} MB; at most {MESSAGE >> 20} MB can cross. Write it to a file."
                )
            return Packet([form, found])

        def render(self, wanted):
            texts = {}
            for name in wanted:
                if name in shell.user_ns:
                    value = shell.user_ns[name]
                    texts[name] = (value if isinstance(value, str) else str(value))[:20_000]
            return Packet(texts)

        def keep(self, number, text):
            shell.user_ns.setdefault("_out", {})[number] = text
            return Packet(None)

    shell._cellwright = Service()
    shell.user_ns["final_answer"] = final_answer
    shell.user_ns["_out"] = {}
