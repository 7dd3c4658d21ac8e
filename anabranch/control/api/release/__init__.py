"""Endpoints of the control API that take what a deploy needs."""
