"""Collects the counters, monitors, logs and traces of all processes; nothing acts on them here."""
