"""Commands of API keys, access rules, the login by which commands reach an engine, and Ray's."""
