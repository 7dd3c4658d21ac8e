"""PyTorch models: ``torch.export`` programs (``.pt2``) and TorchScript (``.pt``, ``.ts``)."""

from __future__ import annotations

from anabranch.components.runtimes.torch.runtime import TorchModel

__all__ = ["TorchModel"]
