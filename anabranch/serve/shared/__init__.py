"""Shared models as the processes of their users call them: their tables, arms and replicas."""
