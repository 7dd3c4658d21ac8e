"""Settings of an engine from its environment, and the addresses that they let it call."""
