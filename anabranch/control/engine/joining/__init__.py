"""Machines that join an engine whose head is elsewhere: how one joins, stays in it, and leaves."""
