"""Measure what the engine's own stages make of sound: figures, plots, model card, showcase."""

from __future__ import annotations

import os

# Before NumPy starts its threads: on matrices this small they only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
