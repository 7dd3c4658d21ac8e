"""How a client reaches an engine: its address, the key for it, and whom its certificate is of."""
