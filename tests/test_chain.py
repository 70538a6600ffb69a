"""The hash chain: every event comes back as it was, and no change goes unseen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwright.chain import GENESIS, LONG, blob_names, digest, link, links, restored, stored
from cellwright.events import Event, Output, Told, ToolCalled
from cellwright.outputs import Display, Stream

LONG_TEXT = "ü" * (LONG + 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20) | st.just(LONG_TEXT),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "$sha256", "$plain", "data"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_an_event_comes_back_as_it_was(value: Any) -> None:
    event = ToolCalled(seq=3, step=1, name="f", args=(value,), kwargs={"k": value}, result=value)
    kept = stored(event)
    assert restored(kept.body, kept.blobs.__getitem__) == event
    assert set(blob_names(kept.body)) == set(kept.blobs)
    assert all(digest(text) == name for name, text in kept.blobs.items())


def test_a_long_text_stands_beside_the_event() -> None:
    kept = stored(Output(step=1, output=Display({"image/png": LONG_TEXT, "text/plain": "<Figure>"})))
    assert list(kept.blobs.values()) == [LONG_TEXT] and len(kept.body) < 400


EVENTS: list[Event] = [Output(seq=n, step=1, output=Stream("stdout", f"line {n}\n")) for n in range(5)]
BODIES = [stored(event).body for event in EVENTS]


def removed(at: int) -> list[str]:
    return BODIES[:at] + BODIES[at + 1 :]


def swapped(at: int) -> list[str]:
    return [*BODIES[:at], BODIES[at + 1], BODIES[at], *BODIES[at + 2 :]]


def changed(at: int) -> list[str]:
    return [*BODIES[:at], BODIES[at].replace("line", "lime"), *BODIES[at + 1 :]]


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("change", [removed, swapped, changed])
def test_every_change_is_seen_from_there_to_the_end(change: Any, at: int) -> None:
    true, false = list(links(BODIES)), list(links(change(at)))
    assert false[:at] == true[:at]
    assert not set(true[at:]) & set(false[at:])


def test_the_first_link_takes_up_the_run_before() -> None:
    body = stored(Told(step=1, text="t", by="person")).body
    assert link(GENESIS, body) != link(link(GENESIS, body), body)
