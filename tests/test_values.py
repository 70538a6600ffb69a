"""Values in and out: exactly as they were, or refused by name; never pickled."""

from __future__ import annotations

import base64

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwright.errors import UsageError, ValueNotTransferable
from cellwright.sandbox.values import decode, encode

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_d5_plain_data_comes_back_as_it_was(value: object) -> None:
    form, sent = encode({"x": value})["x"]
    assert form == "json"
    assert decode(form, sent) == value


def test_d5_a_table_crosses_as_arrow() -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None], "t": pd.to_datetime(["2026-01-01", "2026-01-02"])})
    form, sent = encode({"df": table})["df"]
    assert form == "table"
    back = decode(form, sent)
    assert isinstance(back, pd.DataFrame)
    pd.testing.assert_frame_equal(back, table)


@pytest.mark.parametrize("value", [object(), float("nan"), {1: 2}, {1, 2}, b"x", [object()], 1j])
def test_d5_what_json_would_change_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueNotTransferable, match=r"^thing is a ") as error:
        encode({"thing": value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["1x", "a b", "for", ""])
def test_d5_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="can't be the name of a variable"):
        encode({name: 1})


@pytest.mark.parametrize("sent", ["", "%%%", base64.b64encode(b"not arrow").decode()])
def test_d5_a_table_that_is_none_is_said(sent: str) -> None:
    with pytest.raises(ValueNotTransferable, match="can't be read"):
        decode("table", sent)
