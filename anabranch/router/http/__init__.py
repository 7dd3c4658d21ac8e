"""HTTP for routers and the gateway: the server, requests, responses, the endpoints of a graph."""
