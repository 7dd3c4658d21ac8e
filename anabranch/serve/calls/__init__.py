"""Calls between Ray's processes, with their errors, retries, breakers and spans."""
