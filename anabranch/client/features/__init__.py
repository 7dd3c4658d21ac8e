"""Training sets of request logs: their rows, the features of the past, and how both differ.

The command line writes and prints them; no engine is asked.
"""
