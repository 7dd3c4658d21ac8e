"""Commands about the machines of an engine."""
