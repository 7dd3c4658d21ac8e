"""Graphs from a spec to an answer, without Ray: the builder, the compiler and the executor."""
