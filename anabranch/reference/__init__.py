"""Writes the reference below ``docs/`` from the code, by ``make reference``; no engine uses it."""
