"""Commands for a graph without an engine: one that serves it."""
