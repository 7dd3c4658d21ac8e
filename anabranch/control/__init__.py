"""The control plane: decides what runs, and runs it; no request to a graph passes here."""
