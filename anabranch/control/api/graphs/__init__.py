"""Endpoints that show graphs, their logs, and take graphs away; what moves traffic is elsewhere."""
