"""Sticky keys: where a request's key is, and which choice a key belongs to.

Revisions of a graph and routes of a router node are chosen by the same key readers and the same
hashing.
"""
