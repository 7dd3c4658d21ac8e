"""Pools, whose graphs share a process: their tables and tenants, but not the process itself."""
