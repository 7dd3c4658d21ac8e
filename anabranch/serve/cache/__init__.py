"""Caches of answers: their questions and values as bytes, the stores that keep these, and who asks.

What is cached, and where in a graph, is decided in ``graph/execute/cached.py``.
"""
