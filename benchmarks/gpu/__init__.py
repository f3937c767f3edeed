"""The benchmark of what only a card can show: `python -m benchmarks.gpu` (`__main__.py`)."""
