"""Vivace: a portrait photo and live audio in, a talking head out."""

__version__ = "0.1.0"
