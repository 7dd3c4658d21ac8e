"""The plan that the compiler writes and the executor reads, and values derived from it."""
