"""Admission control: which requests a graph's router refuses early, because too many wait.

Decisions are in ``backlog``, ``ceiling`` and ``turns``, pure: times come in. ``admission`` is what
the protocols ask. Limits in bytes and numbers that hold without overload are in ``limits``.
"""
