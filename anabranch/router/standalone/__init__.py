"""A graph in one process without an engine: its revision, sockets, access and rewards."""
