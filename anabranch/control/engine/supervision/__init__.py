"""Keeps an engine up: watches its processes, and mends or starts anew what ends or hangs."""
