"""memfarm beside other packages, each in a process of its own: `make bench-peers` (docs/performance.md)."""
