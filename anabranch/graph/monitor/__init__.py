"""Monitors at work, from values to windows and findings; their methods are in ``monitors``."""
