"""Shared models: which graphs use them, what that forbids, and how they are doing."""
