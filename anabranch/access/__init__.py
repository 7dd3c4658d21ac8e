"""Who asks, and what may be asked: actors, identities, roles and rules. No protocol and no store."""
