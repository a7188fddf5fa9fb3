"""``python -m benchmarks report``: docs/benchmarks.md from the committed results."""
