"""The commands, a module for each group of them, without the text that they print."""
