"""Machines that join an engine whose head is elsewhere: how one joins, stays, leaves, or leads."""
