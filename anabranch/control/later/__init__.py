"""Asynchronous requests: kept in the store, answered by routers when there is time."""
