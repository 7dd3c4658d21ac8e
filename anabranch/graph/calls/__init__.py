"""Calls of one component, on the event loop or in threads; the executor says which and when."""
