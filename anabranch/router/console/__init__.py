"""The console: its page, and the events that feed it; it shows and asks, and decides nothing."""
