"""Who asks, and what is allowed: actors, identities, roles, rules. No protocol, no store."""
