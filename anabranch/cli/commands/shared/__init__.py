"""Commands about what graphs share."""
