"""PyTorch models from the inside: as functions with gradients, and with hooks on their layers."""

from anabranch.explainers.networks.network import Network, misfit

__all__ = ["Network", "misfit"]
