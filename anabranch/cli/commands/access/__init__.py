"""Commands of API keys, access rules, and the login by which commands reach an engine."""
