"""Classes of a user's code, imported from bundles; built-ins are found in the registry."""
