"""Rules over several fields of one section of a spec; those of nodes are in ``specs.rules``."""
