"""Seldon Core v1 over HTTP: predictions, feedback, metadata and health of its executor."""
