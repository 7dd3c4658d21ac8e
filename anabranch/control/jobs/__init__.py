"""Batch jobs that the engine runs: their records, the processes that run them, and replicas.

What a job does is in ``client.batch``. Here is who may read and write what, and what goes on when
something dies.
"""
