"""Commands for a graph without an engine: to serve it, and to build an image that does."""
