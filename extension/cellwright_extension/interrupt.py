"""Ctrl-C and Jupyter's Interrupt, heard at once while a run goes on.

ipykernel hands a signal to its loop by tornado's `add_callback`, which does not wake a sleeping selector from a signal
handler (ipykernel issue 881). So while a run is under way our own handler stands in its place.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stop_on_sigint(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for every SIGINT while the block runs; outside the main thread nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
