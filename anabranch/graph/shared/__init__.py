"""Nodes that use shared models: their inputs and values, and the models in one process."""
