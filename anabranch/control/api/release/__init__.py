"""Endpoints of revisions, and of the models that portable bundles bring along."""
