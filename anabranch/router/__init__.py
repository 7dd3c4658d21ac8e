"""The request path from a protocol to an executor, without Ray; replicas of it are in ``serve``."""
