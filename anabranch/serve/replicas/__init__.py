"""Deployments of Ray Serve, a module for each; request handling is that of the lower floors."""
