"""Imports model repositories of Triton Inference Server; nothing here asks a server."""
