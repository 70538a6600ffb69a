"""`python -m benchmarks [part ...]`."""

from benchmarks.run import main

main()
