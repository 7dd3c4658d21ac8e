"""What an engine keeps for its machines: bundles, and models that they have brought along."""
