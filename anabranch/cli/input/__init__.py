"""Readers of options, files and standard input as people write them; nothing is sent from here."""
