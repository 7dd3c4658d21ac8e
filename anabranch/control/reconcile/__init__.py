"""Makes Serve run what the store says; what the store should say is decided in ``lifecycle``."""
