"""Metrics, traces and logs of a process, and the way out for them; no floor's own work."""
