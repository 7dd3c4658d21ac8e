"""Commands that write files for other systems."""
