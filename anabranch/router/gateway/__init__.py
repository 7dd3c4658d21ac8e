"""The gateway: all endpoints that belong to no single graph, over HTTP."""
