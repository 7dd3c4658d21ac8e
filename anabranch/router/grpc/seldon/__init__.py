"""Seldon Core v1 over gRPC: its messages, their codec, and the methods of a graph."""
