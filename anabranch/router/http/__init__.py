"""HTTP for routers and the gateway: requests, responses and the endpoints of a graph."""
