"""Shared models in the language: references to them, and documents of ``kind: Model``."""
