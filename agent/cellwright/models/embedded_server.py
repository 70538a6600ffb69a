"""The embedded model's process: llama.cpp's own server on 127.0.0.1, behind a random key.

Started as `python -m cellwright.models.embedded_server FILE THREADS CONTEXT`. It prints one line of JSON, either where
it listens or why it can't, and ends when its standard input closes or its parent is gone.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import sys
from typing import NoReturn

PROMPT_CACHE_MB = 512
"""Memory for prompts of other conversations, so that two agents in turn don't compute theirs anew each time."""


def main() -> NoReturn:
    """Serve until the parent is gone."""
    parent = os.getppid()
    try:
        access = serve(sys.argv[1], threads=int(sys.argv[2]), context=int(sys.argv[3]))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        os._exit(1)

    print(json.dumps(access), flush=True)
    # A process that was forked from the parent may hold our standard input open: hence the look at the parent's id.
    while os.getppid() == parent and not _closed(sys.stdin.fileno()):
        pass

    os._exit(0)  # llama.cpp's threads are in the middle of things; there is nothing to save


def serve(path: str, *, threads: int, context: int) -> dict[str, str]:
    """Load the file and listen. Returns the address and the key; the server lives as long as the process."""
    # Threads that spin while they wait halve the speed on a machine that does anything else.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import xllamacpp

    key = secrets.token_hex(24)
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = context
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = -1
    params.ui = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib = PROMPT_CACHE_MB
    params.api_keys = [key]  # it always listens on a port, and other users of the machine can reach that
    global _server  # noqa: PLW0603 - kept from the garbage collector
    _server = xllamacpp.Server(params)
    return {"api_base": f"{_server.listening_address}/v1", "api_key": key}


_server = None


def _closed(descriptor: int) -> bool:
    """Wait a second for the end of standard input."""
    readable, _, _ = select.select([descriptor], [], [], 1.0)
    return bool(readable) and os.read(descriptor, 4096) == b""


if __name__ == "__main__":
    main()
