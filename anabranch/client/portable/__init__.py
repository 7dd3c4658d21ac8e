"""Portable bundles: a graph with its models in one file, how it is built, signed and sent."""
