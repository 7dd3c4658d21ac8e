"""Engines on a Ray that somebody else has started: what is checked, started, kept up and removed.

What asks that Ray runs in processes of its own, since a process can be on one Ray at a time.
"""
