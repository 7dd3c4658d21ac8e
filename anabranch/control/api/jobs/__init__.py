"""Endpoints of batch jobs, and the body with which one is started."""
