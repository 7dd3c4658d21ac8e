"""All contracts beside anabranch's own, by the value of a node's ``contract``."""

from __future__ import annotations

from anabranch.components.contracts.adapting import ComponentContract
from anabranch.components.contracts.mlserver.contract import MLServerContract
from anabranch.components.contracts.seldon.contract import SeldonContract
from anabranch.specs.models import ContractName, NodeBase

CONTRACTS: dict[ContractName, ComponentContract] = {
    "mlserver": MLServerContract(),
    "seldon": SeldonContract(),
}


def contract_of(node: NodeBase) -> ComponentContract | None:
    """Return the contract of a node's component; None for anabranch's own."""
    return None if node.contract is None else CONTRACTS[node.contract]
