"""The command line: reads what people write, asks an engine, and prints; it decides nothing."""
