"""The protocol over gRPC: a server in every router, and a front that finds the graph's router."""
