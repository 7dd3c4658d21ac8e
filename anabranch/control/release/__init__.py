"""Revisions with all that it takes to run them: bundles, plans, environments and references."""
