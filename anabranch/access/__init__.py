"""Who asks, and what is allowed: actors, identities, roles and rules; no protocol, no store."""
