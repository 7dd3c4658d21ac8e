"""Watched models: looks at the places that they come from, moves to what is found, and verdicts."""
