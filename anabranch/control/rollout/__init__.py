"""Moves rollouts: measures, asks gates, steps and tells webhooks, as ``lifecycle`` decides."""
