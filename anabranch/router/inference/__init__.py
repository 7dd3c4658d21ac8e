"""Inference, whatever the protocol: requests, responses, and the core between codec and graph."""
