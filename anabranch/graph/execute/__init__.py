"""The executor: evaluates the vertices that a request needs; how to call is left to ``calls``."""
