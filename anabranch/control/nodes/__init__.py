"""The machines of an engine: how one joins, what is on each, and how one goes."""
