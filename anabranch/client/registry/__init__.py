"""A client of OCI registries: references, credentials, and the calls of the distribution spec."""
