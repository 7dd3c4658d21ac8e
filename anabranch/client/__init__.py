"""Clients of an engine that runs: no Ray, and nothing that only the engine's own processes need."""
