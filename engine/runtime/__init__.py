"""Inference runtimes behind one interface. ``load.py`` is the only place that knows the list."""
