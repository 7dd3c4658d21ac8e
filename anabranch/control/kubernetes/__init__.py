"""Manifests of an engine on Kubernetes, as plain data; nothing here talks to a cluster."""
