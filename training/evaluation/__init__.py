"""Measure what the engine's own stages make of sound: figures, plots, model card, showcase."""
