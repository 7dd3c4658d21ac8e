"""Starts Ray's workers as forks of a process that has already imported what they need."""
