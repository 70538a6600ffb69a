"""Values on their way into the sandbox and back, in forms that are safe to read: JSON, and Arrow for tables.

Never pickle: reading it runs what the writer wants.
"""

from __future__ import annotations

import base64
import json
import keyword
import math
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError, ValueNotTransferable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..outputs import Json
from ..secrets import Secret, handed_out

Form = Literal["json", "table"]


def encode(values: Mapping[str, object]) -> dict[str, tuple[Form, Json]]:
    """Variables as (form, value): plain data as JSON, a pandas table as an Arrow IPC stream in base64.

    Raises `UsageError` for a name that is none, `ValueNotTransferable` for a value without such a form.
    """
    encoded: dict[str, tuple[Form, Json]] = {}
    for name, value in values.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            raise UsageError(f"{name!r} can't be the name of a variable.")
        if isinstance(value, Secret):
            value = handed_out(value)  # noqa: PLW2901 - what crosses is its handle
        is_table = type(value).__name__ == "DataFrame" and type(value).__module__.startswith("pandas")
        encoded[name] = ("table", _table(name, value)) if is_table else ("json", _plain(name, value))
    return encoded


def decode(form: str, value: Json) -> object:
    """The value that `encode` or `Sandbox.get` made. Raises `ValueNotTransferable`."""
    if form != "table":
        return value
    arrow = _arrow("the answer")
    try:
        with arrow.ipc.open_stream(base64.b64decode(value, validate=True)) as reader:
            return reader.read_pandas()
    except (ValueError, TypeError, arrow.ArrowException) as error:
        raise ValueNotTransferable(f"The table that came back can't be read: {error}") from None


def _table(name: str, value: object) -> str:
    arrow = _arrow(name)
    try:
        table = arrow.Table.from_pandas(value)
    except (arrow.ArrowException, TypeError, ValueError) as error:
        raise ValueNotTransferable(f"{name}: a column has no Arrow type: {error}") from None
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def _arrow(name: str) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ValueNotTransferable(
            f"{name} is a table, which needs pyarrow: pip install 'cellwright[tables]'"
        ) from None
    return pyarrow


def _plain(name: str, value: object) -> Json:
    if hasattr(value, "tolist") and type(value).__module__ == "numpy":
        value = value.tolist()
    try:
        plain = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        plain = None
    if not _same(plain, value):
        raise ValueNotTransferable(
            f"{name} is a {type(value).__name__}; plain data (text, numbers, lists, dicts) and pandas tables "
            "can go in. Turn it into one of these, or write it to a file."
        )
    return plain


def _same(plain: Json, value: object) -> bool:
    """True when JSON did not change the value, tuples to lists excepted."""
    if isinstance(value, dict):
        return (
            isinstance(plain, dict) and plain.keys() == value.keys() and all(_same(plain[k], value[k]) for k in value)
        )
    if isinstance(value, list | tuple):
        return isinstance(plain, list) and len(plain) == len(value) and all(map(_same, plain, value))
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return plain == value and (value is None) == (plain is None)
