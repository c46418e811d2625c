"""The figures that memfarm promises, each beside a baseline: `python -m benchmarks` (docs/performance.md)."""
