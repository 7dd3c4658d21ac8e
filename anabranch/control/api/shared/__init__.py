"""Endpoints of what graphs share: shared models."""
