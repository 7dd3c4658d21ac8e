"""Copies of what a request was evaluated to, for monitors and request logs."""
