"""Commands for portable bundles."""
