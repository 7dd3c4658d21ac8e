"""Passes about values that are looked at beside the answer, and do not change it."""
