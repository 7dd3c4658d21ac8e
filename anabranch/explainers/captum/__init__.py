"""Captum's methods: contributions of the inputs of a PyTorch network to its answer.

The methods read the network, so they work on a copy of the explained node in the explainer's
process.
"""
