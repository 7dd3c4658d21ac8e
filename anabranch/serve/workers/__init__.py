"""How Ray's workers and its agent start.

Workers are forks of a process that has already imported what they need.
"""
