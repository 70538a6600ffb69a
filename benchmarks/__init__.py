"""What Cellwright costs and what it solves, measured: `python -m benchmarks`."""
