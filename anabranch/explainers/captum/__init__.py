"""Captum's methods: what the inputs of a PyTorch network add to its answer.

They look into the network, so they work on a copy of the explained node in the explainer's process.
"""
