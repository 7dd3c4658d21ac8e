"""Explainers at work, from a request to an explanation; their methods are in ``explainers``."""
