"""TLS of the edge: certificates, their copies in the engine's home, and their replacement."""
