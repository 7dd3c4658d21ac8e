"""Commands of batch jobs: those that run here, and those that the engine runs."""
