"""The language: models, a safe loader with positions, checks, and how it is written."""
