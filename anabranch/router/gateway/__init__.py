"""The gateway: all endpoints that belong to no single graph, and the way on to those of graphs."""
